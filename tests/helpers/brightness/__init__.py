"""An example task: how bright is an image? A test adds it as docs/extending.md describes."""
