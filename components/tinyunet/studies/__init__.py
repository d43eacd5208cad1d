"""Longer experiments on the training: the ablation, and the reproduction of a run."""
