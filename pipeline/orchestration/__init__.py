"""Where functions run: Ray Train workers, processes, Ray tasks; and digests of their code. Imports
`utils`."""
