"""Write the configuration of MLflow's login into the file that the command line names.

A container of MLflow's pod runs this file. Environment: MLFLOW_BACKEND_STORE_URI, the database.
"""

import configparser
import os
import sys
from pathlib import Path

CACHE_S = 60  # seconds for which a checked password is not checked again; a check takes 50 ms or more


def configuration(database: str) -> configparser.ConfigParser:
    """Return a configuration without any permission that the administrator did not give."""
    config = configparser.ConfigParser()
    config["mlflow"] = {
        "default_permission": "NO_PERMISSIONS",
        "grant_default_workspace_access": "false",
        "database_uri": database.replace("%", "%%"),
        "admin_username": "admin",
        "auth_cache_ttl_seconds": str(CACHE_S),
    }
    return config


if __name__ == "__main__":
    os.umask(0o077)  # the address of the database contains a password
    with Path(sys.argv[1]).open("w") as file:
        configuration(os.environ["MLFLOW_BACKEND_STORE_URI"]).write(file)
