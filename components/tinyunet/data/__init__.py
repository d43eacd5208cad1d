"""The DAGM2007 dataset: ingestion, validation, conversion to records, and training batches."""
