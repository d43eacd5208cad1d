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
from tinyunet.config import TrainConfig
from tinyunet.errors import UserError
from tinyunet.files import whole, writing
from tinyunet.runtime import storage
from tinyunet.runtime.patience import patiently
from tinyunet.training.provenance import provenance

if TYPE_CHECKING:
    import keras

SCHEMA_VERSION = 1  # of model.json
PATIENCE_S = 3600.0
COLUMNS = (
    "step", "loss", "bce", "dice_loss", "l2", "learning_rate", "gradient_norm", "images_per_s",
    "validation_loss", "validation_dice", "validation_ap",
)  # fmt: skip


def finished(out: str) -> dict[str, Any] | None:
    """Read the model.json of a finished training; None if there is none.

    Args:
        out: Model folder, local or s3://.

    Raises:
        UserError: if something else lies there.
    """
    if storage.is_remote(out):
        place = f"{out.rstrip('/')}/model.json"
        return _summary(out, storage.read_bytes(place)) if storage.exists(place) else None
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
    if storage.is_remote(out):
        with tempfile.TemporaryDirectory() as folder:
            _fill(Path(folder), model, summary, history)
            for name in ("model.keras", "history.csv", "model.json"):
                push = partial(storage.push, Path(folder) / name, f"{out.rstrip('/')}/{name}")
                patiently(push, server="the object store", seconds=PATIENCE_S)
        return
    target = Path(out)
    with writing(target), whole(target) as part:
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
