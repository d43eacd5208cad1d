"""Synthetic images that replace DAGM2007 in tests and demonstrations."""
