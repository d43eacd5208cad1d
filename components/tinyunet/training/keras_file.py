"""The file model.keras of a model folder: loading it, and the digest of its weights."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyunet.core.console import say
from tinyunet.core.errors import UserError

if TYPE_CHECKING:
    import keras


def load_model(path: Path) -> "keras.Model":
    """Load a model that `tinyunet train` wrote.

    Args:
        path: The `.keras` file.

    Raises:
        UserError: if the file is missing or is not a Keras model.
    """
    import keras

    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a Keras model file (train one first)")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"{path} is not a readable Keras model ({reason}); train it again") from error


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
