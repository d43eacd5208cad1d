"""Tests with real MinIO and MLflow servers."""
