"""Where functions run: Ray Train workers, processes, Ray tasks. Imports `utils`."""
