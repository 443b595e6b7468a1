"""Official files: where they come from, and whether they are the right ones."""
