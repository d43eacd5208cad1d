"""Shared by all packages: errors, configuration, documents, files, console output, retries and locks."""
