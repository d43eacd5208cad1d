"""Files of a served model that need neither Keras nor this package: SavedModel, ONNX, ONNX in int8.

Int8 is static quantization after training (onnxruntime). Convolutions compute with 8-bit activations, whose
ranges come from training images, and with 8-bit weights, which have one scale per output channel.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tinyunet.core.console import track
from tinyunet.data.dataset import Split
from tinyunet.data.records.stored import ImageSequence

Outputs = dict[str, NDArray[Any]]
Runner = Callable[[NDArray[Any]], Outputs]

CALIBRATION_IMAGES = 64  # training images whose activations determine the ranges of int8


def write_saved_model(serving: keras.Model, path: Path) -> Runner:
    """Write a SavedModel with two signatures.

    The input of `serving_default` is that of the model. The input of `serving_float` is the same in float32,
    with levels from 0 to 255, or 65535 for images of 16 bits.

    Returns:
        A function that runs the file.
    """
    archive = keras.export.ExportArchive()
    archive.track(serving)
    shape, dtype = serving.input_shape, tf.as_dtype(serving.inputs[0].dtype)
    archive.add_endpoint("serving_default", serving.call, [tf.TensorSpec(shape, dtype, name="images")])
    archive.add_endpoint(
        "serving_float",
        lambda images: serving.call(tf.cast(tf.clip_by_value(tf.round(images), 0.0, dtype.max), dtype)),
        [tf.TensorSpec(shape, tf.float32, name="images")],
    )
    archive.write_out(path, verbose=False)
    loaded = tf.saved_model.load(path)

    def run(images: NDArray[Any]) -> Outputs:
        outputs = loaded.signatures["serving_default"](images=tf.constant(images))
        return {name: outputs[name].numpy() for name in serving.output}

    return run


def write_onnx(serving: keras.Model, path: Path) -> Runner:
    """Write an ONNX file with the input `images` of the model; return a function that runs it."""
    images = serving.inputs[0]
    serving(
        np.zeros((1, 32, 32, images.shape[-1]), images.dtype)
    )  # Keras can export a model only after a call
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx uses deprecated names of NumPy
        logging.disable(logging.WARNING)  # tf2onnx logs every pass of its optimizer
        try:
            serving.export(path, format="onnx", verbose=False)
        finally:
            logging.disable(logging.NOTSET)
    return load_onnx(path)


def load_onnx(path: Path) -> Runner:
    """Load an ONNX file for the CPU; return a function that runs it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True))


def quantize(source: Path, path: Path, train: Split) -> Runner:
    """Write a copy of an ONNX file whose convolutions compute in int8; return a function that runs it."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            images = calibration_images(train)
            self._images = track(iter(images), "calibrating int8", total=len(images))

        def get_next(self) -> Mapping[str, NDArray[Any]] | None:
            image = next(self._images, None)
            return None if image is None else {"images": as_batch(image)}

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
    return load_onnx(path)


def as_batch(image: NDArray[Any]) -> NDArray[Any]:
    """Return one image [H, W] or [H, W, 3] as the input of a served model, [1, H, W, 1 or 3]."""
    return image[None] if image.ndim == 3 else image[None, ..., None]


def calibration_images(train: Split) -> ImageSequence:
    """Return the first defective and the first clean images, at most half of CALIBRATION_IMAGES each."""
    kinds = np.flatnonzero(train.defective), np.flatnonzero(~train.defective)
    half = CALIBRATION_IMAGES // 2
    images: ImageSequence = train.images[np.sort(np.concatenate([kind[:half] for kind in kinds]))]
    return images
