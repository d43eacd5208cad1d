"""MLflow: its address, its client, training runs and downloads."""
