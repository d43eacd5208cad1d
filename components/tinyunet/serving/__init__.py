"""A trained model as others use it: predictions and exported files."""
