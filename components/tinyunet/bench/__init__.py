"""Measurement of this machine, and a model of weak scaling to many GPUs."""
