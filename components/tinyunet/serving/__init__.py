"""The use of a trained model: predictions, and export to other formats."""
