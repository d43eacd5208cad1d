"""One training run: the loop, its step, its state."""
