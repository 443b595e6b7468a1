"""Where functions run: Ray Train workers, processes, Ray tasks; and the files that a stage imports.
Imports `utils`."""
