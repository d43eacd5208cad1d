"""The steps of `ingest`: options, preparation of every sample, splits, checks of the data set, report."""
