"""Import of weights that others have released: one module a family of models."""
