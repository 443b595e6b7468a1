"""What a shard is: Parquet schemas, files and their index."""
