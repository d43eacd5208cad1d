"""Find the engine of a model: in a folder, in the cache, in MLflow, or by conversion of a Keras model."""

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tinyunet.core.console import say
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.files import atomic_path, cache_folder, make_cache_folder, mark_used
from tinyunet.engine.network import INT8, network_files, sha256
from tinyunet.serving.registered import (
    MLFLOW_SCHEMES,
    RegisteredModel,
    database_state,
    download_engine,
    download_keras_model,
    resolve,
)
from tinyunet.serving.sources import Source, find_source
from tinyunet.tracking.uri import tracking_uri


@dataclass(frozen=True)
class FoundEngine:
    """An engine folder on this machine.

    Attributes:
        folder: The engine folder.
        name: Registered model; otherwise the data set, or the name of the file or folder.
        version: Number of the version; empty if the model is not from the registry.
    """

    folder: Path
    name: str
    version: str


def find_engine(model: str, *, cache: Path | None = None) -> FoundEngine:
    """Return the engine of a model, which is downloaded or converted on its first use and then kept.

    Args:
        model: An engine folder, a model folder, a `.keras` file, or models:/NAME@ALIAS, models:/NAME/VERSION,
            models:/m-ID or runs:/RUN_ID of MLflow.
        cache: Folder of the cache; None selects `cache_folder`.

    Raises:
        UserError: if there is no such model, or its files do not have their digests.
    """
    engines = (cache or cache_folder()) / "engines"
    if model.startswith(MLFLOW_SCHEMES):
        return _registered(model, engines)
    path = Path(model)
    if (path / ServedModel.FILE).is_file():
        _check_digest(path)
        return FoundEngine(path, path.resolve().name, "")
    source = find_source(path)
    folder = _fill(engines / source.key, lambda part: _convert(source, part, model))
    return FoundEngine(folder, source.name, "")


def _registered(uri: str, engines: Path) -> FoundEngine:
    """Return the engine of a model of MLflow; if the server does not answer, the one of the last call."""
    key = hashlib.sha256(f"{tracking_uri()} {uri}".encode()).hexdigest()[:32]
    note = engines.parent / "uris" / f"{key}.json"
    known = _read_note(note)
    state = database_state()
    if known and state and known.state == state and _is_complete(engines / known.model_id):
        return FoundEngine(mark_used(engines / known.model_id), known.name or uri, known.version)
    try:
        found = resolve(uri)
        folder = _fill(engines / found.model_id, lambda part: _fetch(found, part, uri))
    except Unreachable as error:
        if known is None or not _is_complete(engines / known.model_id):
            raise
        of_version = f"version {known.version} of {known.name}" if known.version else known.model_id
        say(f"{error}; {of_version} from the cache is used")
        return FoundEngine(mark_used(engines / known.model_id), known.name or uri, known.version)
    _write_note(note, found)
    return FoundEngine(folder, found.name or uri, found.version)


def _fetch(found: RegisteredModel, part: Path, uri: str) -> None:
    """Download the engine of a registered model, or convert a model that was registered without one."""
    if download_engine(found.model_id, part):
        return
    if missing := [name for name in ("tensorflow", "mlflow") if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"{uri} was registered without an engine, and {missing[0]} is not installed to convert it; "
            "register it again"
        )
    _convert(find_source(download_keras_model(found.model_id)), part, uri)


def _convert(source: Source, part: Path, model: str) -> None:
    from tinyunet.core.tensorflow_import import import_tensorflow

    say(f"converting {model} for the engine, once")
    import_tensorflow()
    from tinyunet.serving.engine_files import convert

    convert(source, part)


def _fill(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return a complete engine folder; if it is missing or damaged, write it anew."""
    if not _is_complete(folder):
        with _new_folder(folder) as part:
            write(part)
            _check_digest(part)
    return mark_used(folder)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, which replaces `folder` after the block."""
    make_cache_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as temporary:
        part = Path(temporary) / "engine"
        part.mkdir()
        yield part
        with suppress(FileNotFoundError):
            folder.rename(Path(temporary) / "damaged")
        try:
            part.rename(folder)
        except OSError:  # another process has written it in the meantime
            if not _is_complete(folder):
                raise


def _is_complete(folder: Path) -> bool:
    try:
        _check_digest(folder)
    except (UserError, OSError):
        return False
    return True


def _check_digest(folder: Path) -> None:
    """Raise an error if an engine folder has no description, or another network than it says."""
    document = ServedModel.read(folder)
    expected = {"float32": document.network_sha256}
    if document.int8:
        expected[INT8] = document.int8.sha256
    for precision, digest in expected.items():
        files = network_files(folder, precision)
        missing = [file for file in files if not file.is_file()]
        if not missing and (present := sha256(files)) == digest:
            continue
        found = f"{missing[0]} does not exist" if missing else f"{files[0]} has the SHA-256 {present[:12]}…"
        raise UserError(f"{found}, expected {digest[:12]}…; fetch or register the model again")


def _read_note(note: Path) -> RegisteredModel | None:
    """Return which model a URI meant at the last call, or None if that is not known."""
    try:
        return RegisteredModel(**json.loads(note.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write_note(note: Path, found: RegisteredModel) -> None:
    with atomic_path(note) as part:
        part.write_text(json.dumps(asdict(found)) + "\n")
