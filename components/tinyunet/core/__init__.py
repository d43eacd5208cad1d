"""What every package shares: errors, configuration, documents, files, console output."""
