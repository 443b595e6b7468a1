"""Made-up released files: the official layouts at any size, with seeded weights."""
