"""The file model.keras of a model folder: loading it, and the digest of its weights."""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyunet.core.console import say
from tinyunet.core.errors import UserError

if TYPE_CHECKING:
    import keras

# Layers of Keras that contain or load code.
CODE_LAYERS = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
METADATA, CONFIG = "metadata.json", "config.json"
_SHARED_ID = re.compile(rb'("shared_object_id": )(\d+)')
NO_DATE = "1980-01-01@00:00:00"  # the earliest time of a zip archive


def load_model(path: Path) -> "keras.Model":
    """Load a model that `tinyunet train` wrote; a file that contains code is refused before it is loaded.

    Args:
        path: The `.keras` file.

    Raises:
        UserError: if the file is missing, is not a Keras model, contains code, or needs another Keras.
    """
    import keras

    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a Keras model file (train one first)")
    version = keras.__version__
    try:
        version = _check_file(path)
        return keras.models.load_model(path, compile=False)
    except UserError:
        raise
    except Exception as error:  # Keras raises almost any exception for a file of another version
        lines = str(error).splitlines() or [type(error).__name__]
        reason = lines[0][:120]
        if version != keras.__version__:
            raise UserError(
                f"{path} was written by Keras {version}, and Keras {keras.__version__} cannot read it "
                f"({reason}); use an environment with keras=={version}, or train the model again"
            ) from error
        raise UserError(f"{path} is not a readable Keras model ({reason}); train it again") from error


def save_model(model: "keras.Model", path: Path) -> None:
    """Write a model so that equal models give equal bytes: Keras adds the time and the addresses of objects.

    A training that was interrupted after its last step writes its model again, and the digest of the file is
    a part of the identity of a registered version.

    Args:
        model: The model.
        path: The `.keras` file.
    """
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members[METADATA]) | {"date_saved": NO_DATE}
    members[METADATA] = json.dumps(metadata).encode()
    numbers: dict[bytes, bytes] = {}  # of the addresses, in the order of their first use

    def numbered(match: re.Match[bytes]) -> bytes:
        return match[1] + numbers.setdefault(match[2], str(len(numbers)).encode())

    members[CONFIG] = _SHARED_ID.sub(numbered, members[CONFIG])
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def check_format(path: Path) -> None:
    """Check that a file has the format `.keras`, without reading all of it.

    Keras would read an HDF5 file of the old format without its protection against code in the file.

    Raises:
        UserError: if it has another format.
    """
    if path.suffix == ".keras" and zipfile.is_zipfile(path):
        return
    with path.open("rb") as file:
        old = file.read(4) == b"\x89HDF"
    kind = "an HDF5 file, the old format of Keras" if old else "not a .keras file"
    raise UserError(
        f"{path} is not a readable Keras model (it is {kind}); expected one that `tinyunet train` or "
        "`tinyunet export` wrote"
    )


def _check_file(path: Path) -> str:
    """Return the version of Keras that wrote a file.

    Raises:
        UserError: if the file is not in the format `.keras`, or contains code.
    """
    check_format(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(CONFIG))
        version = str(json.loads(archive.read(METADATA))["keras_version"])
    if code := sorted(set(_find_code(config))):
        raise UserError(
            f"{path} contains code ({', '.join(code)[:120]}), which is not run; expected a model of "
            "Keras' own layers, such as `tinyunet train` writes"
        )
    return version


def _find_code(config: object) -> Iterator[str]:
    """Yield the names of the Lambda layers and of the classes outside Keras in the config of a model."""
    if isinstance(config, dict):
        name, module = str(config.get("class_name", "")), config.get("module", "keras")
        package = str(module).partition(".")[0]
        if name in CODE_LAYERS:
            yield "Lambda" if name == "__lambda__" else name
        elif name and not name.startswith("__") and package not in ("keras", "builtins"):
            yield f"{module}.{name}" if module else f"custom class {name}"
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _find_code(value)


def for_this_machine(model: "keras.Model") -> "keras.Model":
    """Return the model itself, or a float32 copy if this machine only emulates the model's precision."""
    import keras

    from tinyunet.model.precision import is_emulated
    from tinyunet.model.unet import MIXED, convert_to_float32

    text = json.dumps(keras.saving.serialize_keras_object(model))
    emulated = [policy for policy in MIXED if f'"{policy}"' in text and is_emulated(policy)]
    if not emulated:
        return model
    say(f"this machine only emulates {emulated[0]}: the model runs in float32, which is faster here")
    return convert_to_float32(model)


def weights_digest(model: "keras.Model") -> str:
    """Return the SHA-256 over all weights, in their order in the model."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
