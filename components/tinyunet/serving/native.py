"""The served model of a network that takes whole images of any size, at their own resolution."""

import keras
from keras import layers, ops

from tinyunet.model.metrics import SMOOTHING_SIDE, TOP_PIXELS
from tinyunet.model.poses import average_logits
from tinyunet.model.tiles import STRIDE
from tinyunet.serving.exported import IMAGE_LAYER, PIXEL_LAYER, SCORE_PREFIX

LOGITS = "logits"
"""Output that only these models have, for callers that want to threshold it themselves."""


def native_model(
    model: keras.Model,
    threshold: float,
    image_threshold: float,
    *,
    bits: int = 8,
    image_score: str = "max",
    test_time_poses: int = 1,
) -> keras.Model:
    """Wrap a network for serving; Keras can load the result without this package.

    Images are not resized. They are continued by reflection to multiples of STRIDE pixels inside the model,
    and only the pixels of the image count. Memory is proportional to the number of pixels; `model.tiles`
    predicts large images by parts.

    Args:
        model: From levels float32 (B, H, W, C) to logits float32 (B, H, W, 1).
        threshold: Pixel threshold, a probability.
        image_threshold: Image threshold, a logit.
        bits: Bits per channel of the images, 8 or 16.
        image_score: `max`, `top100` (of images of at least 100 pixels) or `smoothed` (of at least 5×5).
        test_time_poses: Number of poses whose logits are averaged, as in the evaluation.

    Returns:
        A model from `images` uint8 or uint16 (B, H, W, C) to the outputs of `serving_model` and to `logits`
        float32 (B, H, W, 1).
    """
    images = keras.Input((None, None, model.input_shape[-1]), dtype=f"uint{bits}", name="images")
    levels = ops.cast(images, "float32")
    padded = levels
    for axis in (1, 2):
        padded = ops.take(padded, _reflected_indices(levels, axis), axis=axis)
    logits = average_logits(model, padded, test_time_poses, ops)
    for axis in (1, 2):
        logits = ops.take(logits, _indices(levels, axis), axis=axis)
    probability = ops.sigmoid(logits)
    # Layers with names, from which `read_exported` reads the thresholds and the kind of score.
    above = layers.Rescaling(1.0, -threshold, dtype="float32", name=PIXEL_LAYER)(probability)
    score = layers.Identity(dtype="float32", name=SCORE_PREFIX + image_score)(_score(logits, image_score))
    over = layers.Rescaling(1.0, -image_threshold, dtype="float32", name=IMAGE_LAYER)(score)
    outputs = {
        "probability": probability,
        "mask": ops.cast(ops.greater(above, 0.0), "uint8"),
        "score": score,
        "defective": ops.cast(ops.greater(over, 0.0), "uint8"),
        LOGITS: logits,
    }
    return keras.Model(images, outputs, name="tinyunet_serving")


def _ones(x: keras.KerasTensor, axis: int) -> keras.KerasTensor:
    """Return a one for every pixel of axis 1 or 2, whose length is known only at run time: (1, length, 1)."""
    return ops.max(ops.ones_like(x), axis=(0, 3 - axis, 3))[None, :, None]


def _indices(x: keras.KerasTensor, axis: int) -> keras.KerasTensor:
    """Return 0, 1, … for the pixels of an axis, int32."""
    return ops.cast(ops.subtract(ops.cumsum(_ones(x, axis)[0, :, 0]), 1.0), "int32")


def _reflected_indices(x: keras.KerasTensor, axis: int) -> keras.KerasTensor:
    """Return the pixels of an axis that is continued to the next multiple of STRIDE, as `numpy.pad` does."""
    ones = _ones(x, axis)
    length = ops.sum(ones)
    blocks = ops.max_pool(ops.pad(ones, [(0, 0), (0, STRIDE - 1), (0, 0)]), STRIDE, STRIDE, "valid")
    index = ops.subtract(ops.cumsum(ops.repeat(blocks[0, :, 0], STRIDE)), 1.0)
    period = ops.maximum(ops.subtract(ops.multiply(length, 2.0), 2.0), 1.0)
    position = ops.mod(index, period)
    return ops.cast(ops.minimum(position, ops.abs(ops.subtract(period, position))), "int32")


def _score(logits: keras.KerasTensor, kind: str) -> keras.KerasTensor:
    if kind == "smoothed":
        return ops.max(ops.average_pool(logits, SMOOTHING_SIDE, 1, "valid"), axis=(1, 2, 3))
    if kind == "max":
        return ops.max(logits, axis=(1, 2, 3))
    flat = layers.Flatten(dtype="float32", name="pixels")(logits)
    return ops.mean(ops.top_k(flat, TOP_PIXELS, sorted=False)[0], axis=1)
