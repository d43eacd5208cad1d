"""Synthetic images in place of DAGM2007."""
