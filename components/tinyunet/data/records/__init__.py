"""Random access to TFRecords: the index of a shard, the stored images, and resized images in a file."""
