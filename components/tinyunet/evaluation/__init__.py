"""The evaluation of trained models: thresholds, scores, curves, pictures and reports."""
