"""The served model: from images of any size to probability, mask, score and verdict."""

import keras
import numpy as np
from keras import ops

from tinyunet.model.metrics import SMOOTHING_SIDE, TOP_PIXELS
from tinyunet.model.poses import average_logits
from tinyunet.serving.native import native_model


def serving_model(
    model: keras.Model,
    threshold: float,
    image_threshold: float,
    image_size: int,
    *,
    bits: int = 8,
    image_score: str = "max",
    test_time_poses: int = 1,
) -> keras.Model:
    """Wrap a trained model for serving; Keras can load the result without this package.

    A network for whole images of any size is wrapped by `native_model`. For others, images of another size
    are resized inside the model by area average, as in training. The probability is resized to the size of
    the image by bilinear interpolation. At `image_size` both are exactly the identity.

    Args:
        model: From levels float32 (B, S, S, C) to logits float32 (B, S, S, 1).
        threshold: Pixel threshold, a probability.
        image_threshold: Image threshold, a logit.
        image_size: S, in pixels; 0 if the network takes whole images of any size.
        bits: Bits per channel of the images, 8 or 16.
        image_score: `max`, `top100` or `smoothed`.
        test_time_poses: Number of poses whose logits are averaged, as in the evaluation; the time of a
            prediction is proportional to it.

    Returns:
        A model from `images` uint8 or uint16 (B, H, W, C) to `probability` float32 (B, H, W, 1), `mask` uint8
        0 or 1 (B, H, W, 1), `score` float32 (B,), a logit, and `defective` uint8 0 or 1 (B,).
    """
    if not image_size:
        return native_model(
            model,
            threshold,
            image_threshold,
            bits=bits,
            image_score=image_score,
            test_time_poses=test_time_poses,
        )
    images = keras.Input((None, None, model.input_shape[-1]), dtype=f"uint{bits}", name="images")
    grey = ops.cast(images, "float32")
    logits = average_logits(model, resize_by_area(grey, image_size), test_time_poses, ops)
    rows, columns = (_linear_weights(grey, image_size, axis) for axis in (1, 2))
    probability = _resample(ops.sigmoid(logits), rows, columns)
    score = _score(logits, image_size, image_score)
    outputs = {
        "probability": probability,
        "mask": ops.cast(ops.greater(probability, threshold), "uint8"),
        "score": score,
        "defective": ops.cast(ops.greater(score, image_threshold), "uint8"),
    }
    return keras.Model(images, outputs, name="tinyunet_serving")


def resize_by_area(grey: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """Resize by area average and round to whole grey levels, exactly as `data.resize.area_average`.

    Args:
        grey: float32 (B, H, W, 1), 0 to 255.
        size: Side of the result in pixels.

    Returns:
        float32 (B, size, size, 1).
    """
    means = _resample(grey, _area_weights(grey, size, axis=1), _area_weights(grey, size, axis=2))
    return ops.floor(ops.add(means, 0.5))


def _resample(x: keras.KerasTensor, rows: keras.KerasTensor, columns: keras.KerasTensor) -> keras.KerasTensor:
    """Apply interpolation weights to both axes: (B, H, W, C) by (I, H) and (J, W) to (B, I, J, C)."""
    return ops.einsum("jw,biwc->bijc", columns, ops.einsum("ih,bhwc->biwc", rows, x))


def _length(x: keras.KerasTensor, axis: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the length of axis 1 or 2, which is known only at run time, and the indices of its pixels."""
    ones = ops.max(ops.ones_like(x), axis=(0, 3 - axis, 3))
    return ops.sum(ones), ops.subtract(ops.cumsum(ones), 1.0)


def _area_weights(x: keras.KerasTensor, size: int, axis: int) -> keras.KerasTensor:
    """Return the fraction of each output pixel that each source pixel covers: (size, length).

    The unit of length is 1/size of a source pixel. All edges are then whole numbers, and half a grey level is
    rounded as in the training data.
    """
    length, source = _length(x, axis)
    start = ops.multiply(length, np.arange(size, dtype=np.float32)[:, None])
    pixel = ops.multiply(source, float(size))
    overlap = ops.subtract(
        ops.minimum(ops.add(start, length), ops.add(pixel, float(size))), ops.maximum(start, pixel)
    )
    return ops.divide(ops.maximum(overlap, 0.0), length)


def _linear_weights(x: keras.KerasTensor, size: int, axis: int) -> keras.KerasTensor:
    """Return the weights of linear interpolation between the centres of `size` pixels: (length, size)."""
    length, target = _length(x, axis)
    position = ops.subtract(ops.multiply(ops.add(target, 0.5), ops.divide(float(size), length)), 0.5)
    position = ops.expand_dims(ops.clip(position, 0.0, size - 1.0), 1)
    distance = ops.abs(ops.subtract(position, np.arange(size, dtype=np.float32)[None, :]))
    return ops.maximum(ops.subtract(1.0, distance), 0.0)


def _score(logits: keras.KerasTensor, size: int, kind: str) -> keras.KerasTensor:
    if kind == "smoothed":
        return ops.max(ops.average_pool(logits, SMOOTHING_SIDE, 1, "valid"), axis=(1, 2, 3))
    flat = ops.reshape(logits, (-1, size * size))
    top = 1 if kind == "max" else min(TOP_PIXELS, size * size)
    return ops.mean(ops.top_k(flat, top, sorted=False)[0], axis=1)
