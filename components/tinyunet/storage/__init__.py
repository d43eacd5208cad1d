"""Objects on S3, and downloads over HTTPS."""
