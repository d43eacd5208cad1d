"""DAGM2007 from its sources to batches."""
