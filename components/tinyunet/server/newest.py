"""Find the model to serve when none is named: the last one that a run in this folder has made."""

from pathlib import Path

from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.errors import UserError
from tinyunet.tracking.client import mlflow_errors, open_client

ALIAS = "champion"
_LISTED = 1000  # registered models


def newest_model(runs: Path) -> str:
    """Return the newest champion of the registry, or else the newest model folder under `runs`.

    Raises:
        UserError: if there is neither.
    """
    try:
        model = _newest_champion()
    except (UserError, ImportError):  # no registry, it does not answer, or MLflow is not installed
        model = ""
    folders = sorted(runs.rglob(ModelDocument.FILE), key=lambda path: path.stat().st_mtime)
    if not model and not folders:
        raise UserError(
            f"no model is given, and neither the registry nor {runs}/ holds one; make run trains one"
        )
    return model or str(folders[-1].parent)


def _newest_champion() -> str:
    """Return models:/NAME@champion of the champion that was registered last; empty if there is none."""
    with mlflow_errors(short_timeout=True):
        client = open_client(existing=True)
        champions = [
            (client.get_model_version(model.name, model.aliases[ALIAS]).creation_timestamp, model.name)
            for model in client.search_registered_models(max_results=_LISTED)
            if ALIAS in model.aliases
        ]
    return f"models:/{max(champions)[1]}@{ALIAS}" if champions else ""
