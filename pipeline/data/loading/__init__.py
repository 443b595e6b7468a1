"""Which rows a step takes, and reading them."""
