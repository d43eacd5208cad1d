"""Remember the last model that a server took, so that a restart finds it without MLflow."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tinyunet.core.files import atomic_path, cache_folder
from tinyunet.core.urls import redact
from tinyunet.tracking.uri import tracking_uri


@dataclass(frozen=True)
class LastGood:
    """A version that passed its self-check on this machine.

    Attributes:
        folder: Its engine folder in the cache.
        name: Name of the registered model.
        version: Number of the version.
    """

    folder: Path
    name: str
    version: str


def remember(model: str, last: LastGood, *, cache: Path | None = None) -> None:
    """Write the note for a model URI, such as models:/NAME@champion; it replaces the earlier one.

    A cache that cannot be written changes nothing else: only a restart without MLflow then finds no model.
    """
    fields = {"folder": str(last.folder.absolute()), "name": last.name, "version": last.version}
    try:
        with atomic_path(_note(model, cache)) as part:
            part.write_text(json.dumps(fields), encoding="utf-8")
    except OSError:
        return


def recall(model: str, *, cache: Path | None = None) -> LastGood | None:
    """Return what was remembered for a model URI of this MLflow, or None if its folder does not exist."""
    try:
        fields = json.loads(_note(model, cache).read_text(encoding="utf-8"))
        last = LastGood(Path(fields["folder"]), fields["name"], fields["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return last if last.folder.is_dir() else None


def _note(model: str, cache: Path | None) -> Path:
    """Return the file of a model URI; the same name in another MLflow is another model."""
    key = hashlib.sha256(f"{redact(tracking_uri())} {model}".encode()).hexdigest()[:16]
    return (cache or cache_folder()) / "served" / f"{key}.json"
