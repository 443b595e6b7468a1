"""Official files to Parquet shards: checks, order, counts, and what is left out."""
