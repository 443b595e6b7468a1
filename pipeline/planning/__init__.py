"""`make plan`: what a scale fetches, computes and takes. Imports all of `pipeline`."""
