"""Versions of judged models in MLflow's registry, and the champion."""
