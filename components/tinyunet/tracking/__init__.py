"""MLflow: its address, its client, runs and downloads."""
