"""Access to the files of a source: a folder, an archive, S3, https, or generated images."""
