"""Which MLflow: `MLFLOW_TRACKING_URI`, or a database at runs/mlflow.db, its artifacts in runs/mlartifacts.

In a Kubernetes pod there is no default: its files go with it.
"""

import os
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from tinyunet.core.errors import UserError
from tinyunet.core.redaction import redact

STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")  # MLflow's own


def tracking_uri() -> str:
    """Give MLFLOW_TRACKING_URI, or the database of this working folder.

    Raises:
        UserError: for a plain folder or a file: URI, which MLflow no longer takes, and other schemes that it
            does not know; in a Kubernetes pod, whose files go with it, also where the variable is not set.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or default_uri()
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "MLFLOW_TRACKING_URI is not set in this pod, whose files are lost with it; set the key of that "
            f"name in the ConfigMap tinyunet to http(s)://server, or the variable ({uri} ends with the pod)"
        )
    scheme = urlsplit(uri).scheme.partition("+")[0] or uri
    if scheme == "sqlite" and not uri.partition(":")[2].startswith("//"):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {redact(uri)!r}; expected sqlite:////absolute/path.db or sqlite:///path.db"
        )
    if scheme in {*STORES, *(plugin.name for plugin in entry_points(group="mlflow.tracking_store"))}:
        return uri
    if urlsplit(uri).scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {redact(uri)!r}, a folder; MLflow keeps its runs on a server or in a "
            "database: expected http(s)://server or sqlite:////absolute/path.db, or unset it to use "
            "runs/mlflow.db"
        )
    raise UserError(
        f"MLFLOW_TRACKING_URI is {redact(uri)!r}; expected one that begins with {', '.join(STORES)}; "
        "correct it, or unset it to use runs/mlflow.db"
    )


def default_uri() -> str:
    """Give the database of this working folder, whatever characters the folder's name has."""
    path = str(Path.cwd() / "runs" / "mlflow.db")
    # No more than must be: MLflow also makes the folder that it reads without undoing this.
    return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F")


def database_path(uri: str) -> Path | None:
    """Give the file of a SQLite database; None for a server."""
    from sqlalchemy.engine import make_url

    file = make_url(uri).database if uri.startswith("sqlite") else None
    return Path(file).absolute() if file else None
