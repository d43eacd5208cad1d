"""Checkpoints: one .npz per kept step, in a folder or under an s3:// prefix, complete or absent.

Together with (configuration, step) the variables are all the state there is: the batch of step k is a
function of (seed, k) alone.
"""

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tinyunet.core.console import say
from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.files import atomic_path, file_errors
from tinyunet.storage import s3

KEEP = 2
_NAME = re.compile(r"step-(\d{8})\.npz$")


@dataclass(frozen=True)
class Checkpoint:
    """A state that can be gone on with.

    Attributes:
        step: Steps taken.
        history: One row per step.
        identity: Configuration and data that a resumption must share.
        run_key: Under which MLflow keeps the run, so that a resumption re-attaches to it.
        precision: Dtype policy that `auto` was when the training began, perhaps on another machine.
    """

    step: int
    history: list[dict[str, float]]
    identity: dict[str, Any]
    run_key: str
    precision: str = ""


class Checkpoints:
    """Saves and restores all variables of a model and its optimizer at one location.

    Args:
        location: Folder or s3:// prefix.
        model: The model.
        optimizer: Its optimizer, built.
    """

    def __init__(self, location: str, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        self._location = location.rstrip("/")
        self._variables = [*model.variables, *optimizer.variables]

    def save(self, checkpoint: Checkpoint, *, must: bool = True) -> None:
        """Write a checkpoint atomically, then drop all but the newest two.

        Args:
            checkpoint: What to keep beside the variables.
            must: Raise if the store does not answer; else that is a warning, and the next one may succeed.

        Raises:
            UserError: if it cannot be written.
        """
        try:
            self._save(checkpoint)
        except Unreachable as error:
            if must:
                raise
            say(f"tinyunet: warning: no checkpoint of step {checkpoint.step}: {error}")

    def _save(self, checkpoint: Checkpoint) -> None:
        arrays: dict[str, Any] = {f"v{i:04d}": v.numpy() for i, v in enumerate(self._variables)}
        buffer = io.BytesIO()
        np.savez(buffer, meta=np.array(json.dumps(asdict(checkpoint))), **arrays)
        _write(f"{self._location}/step-{checkpoint.step:08d}.npz", buffer.getvalue())
        for name in _names(self._location)[:-KEEP]:
            _remove(f"{self._location}/{name}")

    def restore(self, accept: Callable[[Checkpoint], None]) -> Checkpoint | None:
        """Load the newest checkpoint into the variables; None where there is none.

        Args:
            accept: Raises if the checkpoint is another run's; called before any variable changes.

        Raises:
            UserError: if the newest one is unreadable, not accepted or of other variables.
        """
        place = _newest(self._location)
        if not place:
            return None
        with _opened(place) as archive:
            found = _state(archive)
            arrays = [archive[name] for name in sorted(archive.files) if name != "meta"]
        accept(found)
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in self._variables]:
            raise UserError(
                f"{place} has other variables than this version; delete {self._location} to begin anew"
            )
        for variable, value in zip(self._variables, arrays, strict=True):
            variable.assign(value)
        return found

    def clear(self) -> None:
        """Delete every checkpoint here: the finished model replaces them. A store that is away keeps them."""
        try:
            for name in _names(self._location):
                _remove(f"{self._location}/{name}")
        except Unreachable as error:
            say(f"tinyunet: warning: checkpoints are left: {error}")
        if not s3.is_remote(self._location) and Path(self._location).is_dir():
            with contextlib.suppress(OSError):  # somebody else's files are in it: not ours to delete
                Path(self._location).rmdir()


def checkpoint_precision(location: str) -> str:
    """Give the precision of the training whose checkpoints lie here; empty if there are none."""
    place = _newest(location.rstrip("/"))
    if not place:
        return ""
    with _opened(place) as archive:
        return _state(archive).precision


def _newest(location: str) -> str:
    names = _names(location)
    return f"{location}/{names[-1]}" if names else ""


def _names(location: str) -> list[str]:
    if s3.is_remote(location):
        names = [Path(key).name for key in s3.list_objects(location)]
    else:
        folder = Path(location)
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if _NAME.fullmatch(name))


@contextlib.contextmanager
def _opened(place: str) -> Iterator[Any]:
    """Open a checkpoint; whatever is wrong with it is one line."""
    try:
        with np.load(io.BytesIO(_read(place)), allow_pickle=False) as archive:
            yield archive
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        held = f"{place} is not a usable checkpoint ({error})"
        raise UserError(f"{held}; delete it to resume earlier") from error


def _state(archive: Any) -> Checkpoint:  # noqa: ANN401  NumPy's NpzFile
    return Checkpoint(**json.loads(str(archive["meta"])))


def _write(place: str, data: bytes) -> None:
    if s3.is_remote(place):
        s3.write_bytes(place, data)
        return
    with file_errors(Path(place)), atomic_path(Path(place)) as part:
        part.write_bytes(data)


def _read(place: str) -> bytes:
    return s3.read_bytes(place) if s3.is_remote(place) else Path(place).read_bytes()


def _remove(place: str) -> None:
    if s3.is_remote(place):
        s3.remove(place)
    else:
        Path(place).unlink(missing_ok=True)
