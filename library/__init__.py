"""The wheel `vlbeit`: saved models in use, without the pipeline. Needs no package to be built."""
