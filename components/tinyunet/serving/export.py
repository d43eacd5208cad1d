"""Export of a model to SavedModel, ONNX and ONNX in int8, with a comparison of their outputs and speeds."""

import importlib.util
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tinyunet.core.console import say, track
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder
from tinyunet.data.dataset import MASK_LEVEL, Split, load_split
from tinyunet.evaluation.evaluate import check_class
from tinyunet.model.metrics import dice
from tinyunet.model.unet import convert_to_float32
from tinyunet.serving.formats import Runner, as_batch, quantize, write_onnx, write_saved_model
from tinyunet.serving.loading import load_source, serving_source
from tinyunet.training.model_folder import read_model

Figures = dict[str, dict[str, float]]

TOLERANCE = 1e-3  # largest permitted difference of a probability or a score from the Keras model
SPEED_BATCH, SPEED_ROUNDS = 16, 5
PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def export(model: str | Path, out: Path, records: Path | None = None) -> Figures:
    """Write saved_model/, model.onnx and export.json; with records, also model-int8.onnx.

    All formats except int8 compute in float32, independently of the precision of the training.

    Args:
        model: A model that `load_serving` accepts.
        out: Folder to write.
        records: TFRecords of the model's class. The value ranges of int8 are determined on the training
            split, and the effect on Dice is measured on Test.

    Returns:
        The content of export.json: figures by format (`keras`, `saved_model`, `onnx`, `int8`). `difference`
        is the largest difference of a probability from Keras, on random textures; that of int8 is measured
        on 16 test images. With records there are also `dice_defective` on Test and `images_per_s` in batches
        of 16. If the files take images at a scale below 1, export.json also has it as `scale`.

    Raises:
        UserError: if the model or a package is missing, the records are of another class or scale, or the
            outputs of a file differ too much.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{', '.join(missing)} not installed; needed to export: pip install 'tinyunet[export]'"
        )
    if records is not None and (Path(model) / "model.json").is_file():
        check_class(Path(model), read_model(Path(model)), records, RecordsManifest.read(records))
    source = serving_source(model)
    if records is not None:
        _check_scale(model, source.scale, records)
    with tf.device("CPU"):  # ONNX runs on the CPU, too, so that outputs and speeds can be compared
        return _export(convert_to_float32(load_source(source, plain=True)), source.scale, out, records)


def _check_scale(model: str | Path, scale: float, records: Path) -> None:
    """Raise an error if records are at another scale than the model; a model of MLflow has no model.json."""
    if (stored := RecordsManifest.read(records).scale) != scale:
        raise UserError(
            f"{model} takes images at scale {scale:g}, but {records} hold images at scale {stored:g}; "
            f"expected the same: convert with scale={scale:g}"
        )


def _export(serving: keras.Model, scale: float, out: Path, records: Path | None) -> Figures:
    size = next(layer.input_shape[1] for layer in serving.layers if isinstance(layer, keras.Model)) or 0
    with atomic_folder(out, marker="export.json") as part:
        runners: dict[str, Runner] = {"keras": serving.predict_on_batch}
        say("writing saved_model and model.onnx (half a minute; int8 takes minutes more)")
        runners["saved_model"] = write_saved_model(serving, part / "saved_model")
        runners["onnx"] = write_onnx(serving, part / "model.onnx")
        figures = compare_outputs(runners, random_textures(serving, size))
        if records is not None:
            runners["int8"] = quantize(
                part / "model.onnx", part / "model-int8.onnx", load_split(records, "train", size)
            )
            measure(runners, load_split(records, "test", size), figures)
        content = figures if scale == 1 else {"scale": scale, **figures}
        (part / "export.json").write_text(json.dumps(content, indent=2) + "\n")
    if scale != 1:
        say(f"the files take images at scale {scale:g}: reduce both sides by area average first")
    return figures


def random_textures(serving: keras.Model, size: int) -> list[NDArray[Any]]:
    """Return two batches of random images: one of the model's size, and one that it must resize or pad."""
    rng, side, dtype = np.random.default_rng(0), size or 64, np.dtype(serving.inputs[0].dtype)
    shapes = ((2, side, side), (1, 2 * side, side + 17))
    level = np.iinfo(dtype).max / 255
    channels = serving.input_shape[-1]
    return [(level * rng.normal(128, 30, (*shape, channels)).clip(0, 255)).astype(dtype) for shape in shapes]


def compare_outputs(runners: Mapping[str, Runner], batches: Sequence[NDArray[Any]]) -> Figures:
    """Return the largest difference of a probability from the Keras model, for each format.

    Raises:
        UserError: if a difference of a probability or a score is above TOLERANCE.
    """
    figures = {}
    for name, run in runners.items():
        largest = {
            key: max(_difference(run, runners["keras"], key, batch) for batch in batches)
            for key in ("probability", "score")
        }
        if not max(largest.values()) <= TOLERANCE:
            raise UserError(
                f"{name} differs from the Keras model by {max(largest.values()):.2g}; expected at most "
                f"{TOLERANCE:g}: report this model"
            )
        figures[name] = {"difference": largest["probability"]}
    return figures


def measure(runners: Mapping[str, Runner], test: Split, figures: Figures) -> None:
    """Add the speed, the Dice of defective images, and the difference of int8 on test images to `figures`."""
    first = [image for image in test.images[:SPEED_BATCH] if image.shape == test.images[0].shape]
    images = [first[i % len(first)] for i in range(SPEED_BATCH)]
    batch = np.concatenate([as_batch(image) for image in images])
    for name, seconds in _median_seconds(runners, batch).items():
        figures.setdefault(name, {})["images_per_s"] = SPEED_BATCH / seconds
    figures["int8"]["difference"] = _difference(runners["int8"], runners["keras"], "probability", batch)
    for name, run in runners.items() if test.defective.any() else ():
        figures[name]["dice_defective"] = float(np.mean(list(_dice(run, test, name))))


def table(figures: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield the lines of a table for a terminal, one line per format."""
    keys = ("difference", "dice_defective", "images_per_s")
    titles = ("difference", "Dice on Test", f"img/s, batch {SPEED_BATCH}")
    yield f"{'':12}" + "".join(f"{title:>18}" for title in titles)
    for name, row in figures.items():
        yield f"{name:12}" + "".join(f"{row[key]:18.3g}" if key in row else f"{'–':>18}" for key in keys)


def _difference(run: Runner, reference: Runner, key: str, batch: NDArray[Any]) -> float:
    return float(np.abs(run(batch)[key].astype(np.float64) - reference(batch)[key]).max())


def _median_seconds(runners: Mapping[str, Runner], batch: NDArray[Any]) -> dict[str, float]:
    """Return the median time for a batch, for each format; the formats are measured alternately."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for run in runners.values():
        run(batch)  # the first call includes tracing and is not measured
    for _ in range(SPEED_ROUNDS):
        for name, run in runners.items():
            start = time.perf_counter()
            run(batch)
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def _dice(run: Runner, test: Split, name: str) -> Iterator[float]:
    indices = np.flatnonzero(test.defective)
    for index in track(iter(indices), f"evaluating {name}", total=len(indices)):
        mask = run(as_batch(test.images[index]))["mask"][0, ..., 0] > 0
        label = test.masks[index] >= MASK_LEVEL
        yield float(dice((mask & label).sum(), (mask & ~label).sum(), (~mask & label).sum()))
