"""The watched images: their drift from the validation images, and those that are kept for review."""
