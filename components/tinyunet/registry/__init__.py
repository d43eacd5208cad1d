"""Registration of evaluated models as versions in MLflow's registry, and the alias `champion`."""
