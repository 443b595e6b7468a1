"""One entry point per DVC stage, and those of `make`. Imports `pipeline` and `model`."""
