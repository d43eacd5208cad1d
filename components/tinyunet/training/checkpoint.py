"""Checkpoints of a training: one .npz file per saved step, in a folder or under an s3:// prefix.

A checkpoint contains all variables and a `CheckpointState`. No other state is needed to resume, because the
batch of step k is a function of (seed, k) alone. A file is written completely or not at all.
"""

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import ValidationError

from tinyunet.core.console import say
from tinyunet.core.documents.base import READING
from tinyunet.core.documents.checkpoint import CheckpointState
from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.files import atomic_path, file_errors
from tinyunet.core.validation import explain
from tinyunet.storage import s3

MAX_CHECKPOINTS = 2
_NAME = re.compile(r"step-(\d{8})\.npz$")


class Checkpoints:
    """Saves and restores all variables of a model and of its optimizer at one location.

    Args:
        location: Folder or s3:// prefix.
        model: The model.
        optimizer: The optimizer of the model, whose variables must exist already.
    """

    def __init__(self, location: str, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        self._location = location.rstrip("/")
        self._variables = [*model.variables, *optimizer.variables]

    def save(self, state: CheckpointState, *, required: bool = True) -> None:
        """Write a checkpoint atomically, then delete all but the newest two.

        Args:
            state: The content of the checkpoint besides the variables.
            required: Whether a store that does not answer is an error. Otherwise a warning is printed, and
                the training continues until the next checkpoint.

        Raises:
            UserError: if the checkpoint cannot be written.
        """
        try:
            self._save(state)
        except Unreachable as error:
            if required:
                raise
            say(f"tinyunet: warning: no checkpoint of step {state.step}: {error}")

    def _save(self, state: CheckpointState) -> None:
        arrays: dict[str, Any] = {f"v{i:04d}": v.numpy() for i, v in enumerate(self._variables)}
        buffer = io.BytesIO()
        np.savez(buffer, meta=np.array(json.dumps(state.model_dump())), **arrays)
        _write(f"{self._location}/step-{state.step:08d}.npz", buffer.getvalue())
        for name in _names(self._location)[:-MAX_CHECKPOINTS]:
            _delete(f"{self._location}/{name}")

    def restore(self, check: Callable[[CheckpointState], None]) -> CheckpointState | None:
        """Load the newest checkpoint into the variables; return its state, or None if there is none.

        Args:
            check: Function that raises an error if the checkpoint belongs to another training. It is called
                before any variable changes.

        Raises:
            UserError: if the newest checkpoint cannot be read, fails the check or has other variables.
        """
        place = _newest(self._location)
        if not place:
            return None
        with _opened(place) as archive:
            state = _state(archive)
            arrays = [archive[name] for name in sorted(archive.files) if name != "meta"]
        check(state)
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in self._variables]:
            raise UserError(
                f"{place} has other variables than this version; delete {self._location} to start again"
            )
        for variable, value in zip(self._variables, arrays, strict=True):
            variable.assign(value)
        return state

    def clear(self) -> None:
        """Delete all checkpoints of the location; print a warning if the store does not answer."""
        try:
            for name in _names(self._location):
                _delete(f"{self._location}/{name}")
        except Unreachable as error:
            say(f"tinyunet: warning: checkpoints were not deleted: {error}")
        if not s3.is_remote(self._location) and Path(self._location).is_dir():
            with contextlib.suppress(OSError):  # the folder contains other files
                Path(self._location).rmdir()


def checkpoint_precision(location: str) -> str:
    """Return the precision of the training that wrote the newest checkpoint; empty without a checkpoint."""
    place = _newest(location.rstrip("/"))
    if not place:
        return ""
    with _opened(place) as archive:
        return _state(archive).precision


def _newest(location: str) -> str:
    """Return the path or URI of the newest checkpoint; empty if there is none."""
    names = _names(location)
    return f"{location}/{names[-1]}" if names else ""


def _names(location: str) -> list[str]:
    """Return the names of all checkpoints, the oldest first."""
    if s3.is_remote(location):
        names = [Path(key).name for key in s3.list_objects(location)]
    else:
        folder = Path(location)
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if _NAME.fullmatch(name))


@contextlib.contextmanager
def _opened(place: str) -> Iterator[Any]:
    """Open a checkpoint for a `with` block; raise a UserError if opening it, or reading it there, fails."""
    try:
        with np.load(io.BytesIO(_read(place)), allow_pickle=False) as archive:
            yield archive
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{place} is not a usable checkpoint ({error}); delete it to resume earlier"
        ) from error


def _state(archive: Any) -> CheckpointState:  # noqa: ANN401  NumPy's NpzFile
    try:
        return CheckpointState.model_validate(json.loads(str(archive["meta"])), context=READING)
    except ValidationError as error:
        raise ValueError(" ".join(explain(error))) from error


def _write(place: str, data: bytes) -> None:
    if s3.is_remote(place):
        s3.write_bytes(place, data)
        return
    with file_errors(Path(place)), atomic_path(Path(place)) as part:
        part.write_bytes(data)


def _read(place: str) -> bytes:
    return s3.read_bytes(place) if s3.is_remote(place) else Path(place).read_bytes()


def _delete(place: str) -> None:
    if s3.is_remote(place):
        s3.remove(place)
    else:
        Path(place).unlink(missing_ok=True)
