"""Scores, pictures, reports and exported models."""
