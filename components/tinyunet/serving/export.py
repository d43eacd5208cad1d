"""The serving model in formats that need neither Keras nor this package: SavedModel, ONNX, ONNX in int8.

Each file is checked against the Keras model before it is kept. Int8 is static quantization after training
(onnxruntime): convolutions take 8-bit activations, whose ranges come from training images, and 8-bit weights
with a scale per output channel.
"""

import importlib.util
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tinyunet.core.console import say, track
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder
from tinyunet.data.dataset import MASK_LEVEL, Split, load_split
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.evaluation.evaluate import check_class, read_model
from tinyunet.model.metrics import dice
from tinyunet.model.unet import in_float32
from tinyunet.serving.predict import load_serving
from tinyunet.serving.serving_model import OUTPUTS

Outputs = dict[str, NDArray[Any]]
Runner = Callable[[NDArray[np.uint8]], Outputs]

TOLERANCE = 1e-3  # of a probability or a score, between a file and the Keras model
CALIBRATION = 64  # training images whose activations set the ranges of int8
SPEED_BATCH, ROUNDS, PACKAGES = 16, 5, ("onnx", "onnxruntime", "tf2onnx")


def export(model: str | Path, out: Path, records: Path | None = None) -> dict[str, dict[str, float]]:
    """Write saved_model/ and model.onnx, with records also model-int8.onnx; measure them: export.json.

    All compute in float32 (int8 apart), whatever precision the model was trained in.

    Args:
        model: As for `load_serving`.
        out: Folder to make.
        records: TFRecords of the model's class: Train sets the ranges of int8, Test measures what it loses.

    Returns:
        By format (`keras`, `saved_model`, `onnx`, `int8`): `difference`, the largest one of a probability
        from Keras' (on random textures; of int8 on 16 images of Test); with records `dice_defective` on Test,
        and `images_per_s` at batches of 16.

    Raises:
        UserError: if the model or a package is missing, or a file does not give the model's outputs.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{', '.join(missing)} not installed; needed to export: pip install 'tinyunet[export]'"
        )
    if records is not None and (Path(model) / "model.json").is_file():
        check_class(Path(model), read_model(Path(model)), records, RecordsManifest.read(records))
    with tf.device("CPU"):  # where ONNX runs as well: the same arithmetic, comparable speeds
        return _export(in_float32(load_serving(model, plain=True)), out, records)


def _export(serving: keras.Model, out: Path, records: Path | None) -> dict[str, dict[str, float]]:
    size = next(layer.input_shape[1] for layer in serving.layers if isinstance(layer, keras.Model))
    with atomic_folder(out, marker="export.json") as part:
        runs: dict[str, Runner] = {"keras": serving.predict_on_batch}
        say("writing saved_model and model.onnx (half a minute)")
        runs["saved_model"] = write_saved_model(serving, part / "saved_model")
        runs["onnx"] = write_onnx(serving, part / "model.onnx")
        figures = compared(runs, textures(size))
        if records is not None:
            runs["int8"] = quantize(
                part / "model.onnx", part / "model-int8.onnx", load_split(records, "train", size)
            )
            measure(runs, load_split(records, "test", size), figures)
        (part / "export.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def write_saved_model(serving: keras.Model, path: Path) -> Runner:
    """Write a SavedModel with two signatures, and give what runs it.

    `serving_default` takes `images` uint8 (B, H, W, 1); `serving_float` takes float32 grey levels, 0 to 255.
    """
    archive = keras.export.ExportArchive()
    archive.track(serving)
    shape = (None, None, None, 1)
    archive.add_endpoint("serving_default", serving.call, [tf.TensorSpec(shape, tf.uint8, name="images")])
    archive.add_endpoint(
        "serving_float",
        lambda images: serving.call(tf.cast(tf.clip_by_value(tf.round(images), 0.0, 255.0), tf.uint8)),
        [tf.TensorSpec(shape, tf.float32, name="images")],
    )
    archive.write_out(path, verbose=False)
    loaded = tf.saved_model.load(path)

    def run(images: NDArray[np.uint8]) -> Outputs:
        found = loaded.signatures["serving_default"](images=tf.constant(images))
        return {name: found[name].numpy() for name in OUTPUTS}

    return run


def write_onnx(serving: keras.Model, path: Path) -> Runner:
    """Write an ONNX file, `images` uint8 (B, H, W, 1) in, and give what runs it."""
    serving(np.zeros((1, 32, 32, 1), np.uint8))  # Keras exports models that were called
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx asks NumPy for names that it no longer has
        logging.disable(logging.WARNING)  # tf2onnx counts its optimizer's passes
        try:
            serving.export(path, format="onnx", verbose=False)
        finally:
            logging.disable(logging.NOTSET)
    return session(path)


def session(path: Path) -> Runner:
    """Load an ONNX file for the CPU."""
    import onnxruntime

    loaded = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(OUTPUTS, loaded.run(list(OUTPUTS), {"images": images}), strict=True))


def quantize(source: Path, path: Path, train: Split) -> Runner:
    """Write a copy of an ONNX file whose convolutions compute in int8, and give what runs it."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            chosen = calibration_images(train)
            self._images = track(iter(chosen), "calibrating int8", total=len(chosen))

        def get_next(self) -> Mapping[str, NDArray[np.uint8]] | None:
            image = next(self._images, None)
            return None if image is None else {"images": image[None, ..., None]}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            path,
            Images(),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
            op_types_to_quantize=["Conv"],
        )
    return session(path)


def calibration_images(train: Split) -> NDArray[np.uint8]:
    """Take the first images of each kind, CALIBRATION in all at most: uint8 [n, S, S]."""
    kinds = np.flatnonzero(train.defective), np.flatnonzero(~train.defective)
    half = CALIBRATION // 2
    chosen: NDArray[np.uint8] = train.images[np.sort(np.concatenate([kind[:half] for kind in kinds]))]
    return chosen


def textures(size: int) -> list[NDArray[np.uint8]]:
    """Give two batches to compare outputs on: one of the model's size, one that it has to resize."""
    rng = np.random.default_rng(0)
    shapes = ((2, size, size, 1), (1, 2 * size, size + 17, 1))
    return [rng.normal(128, 30, shape).clip(0, 255).astype(np.uint8) for shape in shapes]


def compared(runs: Mapping[str, Runner], batches: list[NDArray[np.uint8]]) -> dict[str, dict[str, float]]:
    """Give each format's largest difference from Keras: of a probability, and of a score.

    Raises:
        UserError: if one is above TOLERANCE: the file does not hold the model.
    """
    figures = {}
    for name, run in runs.items():
        found = {
            key: max(_difference(run, runs["keras"], key, b) for b in batches)
            for key in ("probability", "score")
        }
        if not max(found.values()) <= TOLERANCE:
            raise UserError(
                f"{name} differs from the Keras model by {max(found.values()):.2g}; expected at most "
                f"{TOLERANCE:g}: report this model"
            )
        figures[name] = {"difference": found["probability"]}
    return figures


def measure(runs: Mapping[str, Runner], test: Split, figures: dict[str, dict[str, float]]) -> None:
    """Add Dice of defective images and speed to the figures, and how far int8 is off on images of Test."""
    batch = np.ascontiguousarray(np.resize(test.images, (SPEED_BATCH, *test.images.shape[1:])))[..., None]
    for name, seconds in _seconds(runs, batch).items():
        figures.setdefault(name, {})["images_per_s"] = SPEED_BATCH / seconds
    figures["int8"]["difference"] = _difference(runs["int8"], runs["keras"], "probability", batch)
    for name, run in runs.items() if test.defective.any() else ():
        figures[name]["dice_defective"] = float(np.mean(list(_dice(run, test, name))))


def table(figures: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Give a line per format."""
    keys = ("difference", "dice_defective", "images_per_s")
    titles = ("difference", "Dice on Test", f"img/s, batch {SPEED_BATCH}")
    yield f"{'':12}" + "".join(f"{title:>18}" for title in titles)
    for name, found in figures.items():
        yield f"{name:12}" + "".join(f"{found[key]:18.3g}" if key in found else f"{'–':>18}" for key in keys)


def _difference(run: Runner, reference: Runner, key: str, batch: NDArray[np.uint8]) -> float:
    return float(np.abs(run(batch)[key].astype(np.float64) - reference(batch)[key]).max())


def _seconds(runs: Mapping[str, Runner], batch: NDArray[np.uint8]) -> dict[str, float]:
    """Time a batch in every format, round by round; give the medians."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(batch)  # traced: not measured
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run(batch)
            taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def _dice(run: Runner, test: Split, name: str) -> Iterator[float]:
    chosen = np.flatnonzero(test.defective)
    for index in track(iter(chosen), f"judging {name}", total=len(chosen)):
        mask = run(test.images[index][None, ..., None])["mask"][0, ..., 0] > 0
        label = test.masks[index] >= MASK_LEVEL
        yield float(dice((mask & label).sum(), (mask & ~label).sum(), (~mask & label).sum()))
