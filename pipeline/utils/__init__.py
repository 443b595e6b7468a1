"""Small parts that know no subject: files, keyed random numbers, work folders, FLOPs. Imports
`config` and `model`."""
