"""Objects on S3, and downloads by https."""
