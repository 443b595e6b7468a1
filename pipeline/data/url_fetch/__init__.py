"""Lists of URLs to Parquet files of images, with a status for every URL."""
