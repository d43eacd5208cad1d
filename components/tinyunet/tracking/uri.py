"""The address of MLflow: `MLFLOW_TRACKING_URI`, or the database runs/mlflow.db in the working folder.

A Kubernetes pod has no default, because its files are deleted with it.
"""

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from tinyunet.core.errors import UserError
from tinyunet.core.urls import redact, split_url

STORES = (
    "http",
    "https",
    "sqlite",
    "postgresql",
    "mysql",
    "mssql",
    "databricks",
)  # the schemes that MLflow supports
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the URI of the database in the working folder.

    Raises:
        UserError: if the variable is a folder or a file: URI, which MLflow no longer supports, or has another
            scheme that MLflow does not support; in a Kubernetes pod, also if the variable is not set.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or default_uri()
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            f"MLFLOW_TRACKING_URI is not set in this pod, and {uri} would be lost with it; the ConfigMap "
            "tinyunet of the namespace sets it: make connect NAMESPACE=this-namespace"
        )
    match = re.match(r"([A-Za-z][A-Za-z0-9.-]*)(\+[^:]*)?:", uri)
    scheme = match[1].lower() if match else ""
    if scheme in ("http", "https"):
        split_url("MLFLOW_TRACKING_URI", uri, "an MLflow server, http(s)://host")
    if scheme == "sqlite" and not uri.partition(":")[2].startswith("//"):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {redact(uri)!r}; expected sqlite:////absolute/path.db or sqlite:///path.db"
        )
    if (scheme or uri) in {*STORES, *(plugin.name for plugin in entry_points(group="mlflow.tracking_store"))}:
        return uri
    if scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {redact(uri)!r}, a folder; MLflow stores runs on a server or in a "
            "database: expected http(s)://server or sqlite:////absolute/path.db, or unset it to use "
            "runs/mlflow.db"
        )
    raise UserError(
        f"MLFLOW_TRACKING_URI is {redact(uri)!r}; expected one that begins with {', '.join(STORES)}; "
        "correct it, or unset it to use runs/mlflow.db"
    )


def default_uri() -> str:
    """Return the URI of the database in the working folder, whose path may contain any characters."""
    path = str(Path.cwd() / "runs" / "mlflow.db")
    # No other characters are encoded, because MLflow creates the folder of the encoded path.
    return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F")


def database_path(uri: str) -> Path | None:
    """Return the file of a SQLite database, or None for a server or another database.

    Raises:
        UserError: if the address of another database is not valid, or its driver is not installed.
    """
    if re.split("[+:]", uri, maxsplit=1)[0] not in _DATABASES:
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    start = f"MLFLOW_TRACKING_URI is {redact(uri)!r}"
    try:
        urlsplit(uri)  # as MLflow does
        address = make_url(uri)
        if not uri.startswith("sqlite"):
            address.get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        raise UserError(
            f"{start}, and the package {error.name}, which connects to this database, is not installed; "
            "install it, or use an MLflow server"
        ) from error
    except (ValueError, SQLAlchemyError) as error:
        raise UserError(f"{start}; expected DIALECT://USER:…@host:port/name") from error
    file = address.database if uri.startswith("sqlite") else None
    return Path(file).absolute() if file else None
