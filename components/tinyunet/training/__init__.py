"""One training: its description, its loop, its step, its checkpoints and its model folder."""
