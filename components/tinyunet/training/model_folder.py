"""The model folder: model.keras, model.json and history.csv, written whole or not at all."""

import csv
import hashlib
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tinyunet
from tinyunet.core.config import TrainConfig
from tinyunet.core.console import say
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, file_errors
from tinyunet.core.retry import retry_while_unreachable
from tinyunet.storage import s3
from tinyunet.training.provenance import provenance

if TYPE_CHECKING:
    import keras

SCHEMA_VERSION = 1  # of model.json
PATIENCE_S = 3600.0
COLUMNS = (
    "step", "loss", "bce", "dice_loss", "l2", "learning_rate", "gradient_norm", "images_per_s",
    "validation_loss", "validation_dice", "validation_ap",
)  # fmt: skip


def finished_model(out: str) -> dict[str, Any] | None:
    """Read the model.json of a finished training; None if there is none.

    Args:
        out: Model folder, local or s3://.

    Raises:
        UserError: if something else lies there.
    """
    if s3.is_remote(out):
        place = f"{out.rstrip('/')}/model.json"
        return _summary(out, s3.read_bytes(place)) if s3.exists(place) else None
    path = Path(out) / "model.json"
    if path.is_file():
        return _summary(out, path.read_bytes() if path.with_name("model.keras").is_file() else b"")
    if Path(out).exists() and not (Path(out).is_dir() and not any(Path(out).iterdir())):
        raise UserError(
            f"{out} exists and holds no model; expected a new or empty folder: choose another --out"
        )
    return None


def _summary(out: str, text: bytes) -> dict[str, Any]:
    try:
        summary = json.loads(text)
    except ValueError:  # of JSON and of UTF-8
        summary = None
    if not isinstance(summary, dict) or "identity" not in summary:
        raise UserError(f"{out} holds no whole model of tinyunet; choose another --out, or delete it")
    return summary


def describe(
    identity: dict[str, Any],
    config: TrainConfig,
    manifest: dict[str, Any],
    *,
    world_size: int,
    precision: str,
    normalization: tuple[float, float],
    history: list[dict[str, float]],
    weights_digest: str,
    mlflow: dict[str, str] | None,
) -> dict[str, Any]:
    """Put together the content of model.json: what was trained, on what, by which code."""
    from tinyunet.model.unet import PARAMETERS

    data = {key: manifest[key] for key in ("digest", "source", "source_digest", "complete", "synthetic")}
    data |= {f"{name}_digest": split["digest"] for name, split in manifest["splits"].items()}
    rates = [row["images_per_s"] for row in history]
    return {
        "schema_version": SCHEMA_VERSION,
        "tinyunet_version": tinyunet.__version__,
        "preset": config.preset,
        "image_size": config.image_size,
        "class_id": manifest["class_id"],
        "parameters": PARAMETERS,
        "weights_digest": weights_digest,
        "precision": precision,
        "world_size": world_size,
        "steps": config.steps,
        "seed": config.seed,
        "train": config.to_dict(),
        "identity": identity,
        "normalization": dict(zip(("scale", "offset"), normalization, strict=True)),
        "data": data,
        **provenance(),
        "mlflow": mlflow,
        "training": {
            "images_per_s": sorted(rates)[len(rates) // 2],
            "seconds": sum(config.global_batch / max(rate, 1e-9) for rate in rates),
            "final_loss": history[-1]["loss"],
            "validation_dice": history[-1]["validation_dice"],
            "validation_ap": history[-1]["validation_ap"],
        },
    }


def write(out: str, model: "keras.Model", summary: dict[str, Any], history: list[dict[str, float]]) -> None:
    """Write the model folder locally or under an s3:// prefix; model.json comes last and marks it whole.

    A store that is away is waited for, an hour at most: here a whole training is at stake.
    """
    if s3.is_remote(out):
        with tempfile.TemporaryDirectory() as folder:
            _fill(Path(folder), model, summary, history)
            for name in ("model.keras", "history.csv", "model.json"):
                push = partial(s3.push, Path(folder) / name, f"{out.rstrip('/')}/{name}")
                retry_while_unreachable(push, server="the object store", timeout_s=PATIENCE_S)
        return
    target = Path(out)
    with file_errors(target), atomic_path(target) as part:
        part.mkdir(parents=True)
        _fill(part, model, summary, history)
        if target.is_dir():
            target.rmdir()  # an empty folder that a launcher made; a full one is not ours to replace


def weights_digest(model: "keras.Model") -> str:
    """Give the SHA-256 of all weights, in order."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _fill(
    folder: Path, model: "keras.Model", summary: dict[str, Any], history: list[dict[str, float]]
) -> None:
    from tinyunet.model.unet import rebuild

    rebuild(model, plain=True).save(folder / "model.keras")
    (folder / "model.json").write_text(json.dumps(summary, indent=2) + "\n")
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in history)


def _text(value: float) -> str:
    return f"{value:.8g}"


def load_model(path: Path) -> "keras.Model":
    """Load a model file written by training.

    Args:
        path: The `.keras` file.

    Raises:
        UserError: if the file is missing or not a Keras model.
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
    """Give a model as this machine runs it: itself, or in float32 where its precision is only emulated."""
    import keras

    from tinyunet.model.precision import is_emulated
    from tinyunet.model.unet import MIXED, in_float32

    text = json.dumps(keras.saving.serialize_keras_object(model))
    slow = [policy for policy in MIXED if f'"{policy}"' in text and is_emulated(policy)]
    if not slow:
        return model
    say(f"this machine only emulates {slow[0]}: the model runs in float32, which is faster here")
    return in_float32(model)
