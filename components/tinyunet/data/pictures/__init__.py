"""Decoding of image files and of mask files of all kinds into arrays."""
