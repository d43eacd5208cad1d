"""Augmentation of images: poses, shifts with reflection, photometric changes, rotations and zooms.

Poses and shifts are applied here, by views and by copies of parts of an image. The training step applies the
other changes on its device.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import TrainConfig

Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """The random augmentation of one global batch of B images.

    Attributes:
        flips: bool [B], whether an image is mirrored left to right, before the rotation.
        turns: int [B], number of quarter turns, counter-clockwise.
        shifts: int [B, 2], pixels down and to the right, at most half the side.
        gain: float32 [B], factor of the grey level.
        bias: float32 [B], grey levels that are added after the multiplication.
        warps: float32 [B, 8], rotation and zoom, see `warps`.
    """

    flips: NDArray[np.bool_]
    turns: NDArray[np.int64]
    shifts: NDArray[np.int64]
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    warps: NDArray[np.float32]


def draw_augmentation(
    rng: np.random.Generator, config: TrainConfig, size: int, mean: float, std: float
) -> Augmentation:
    """Draw the augmentation of one global batch.

    `dihedral` draws one of all 8 poses. `published` mirrors half of the images and rotates by 0, 90 or 180
    degrees, which makes 6 poses (NVIDIA DeepLearningExamples, UNet_Industrial). A change of contrast does not
    change the grey level `mean`. A change of brightness is a multiple of `std`. Both together are
    grey · gain + bias. Angles and logarithms of zoom factors are distributed uniformly.

    Args:
        rng: Random numbers of this step.
        config: `global_batch`, `poses`, `max_shift`, `photometric`, `max_rotation` and `max_zoom` are used.
        size: Side of the images in pixels.
        mean: Mean grey level of the split.
        std: Standard deviation of the grey levels of the split.
    """
    count = config.global_batch
    max_pixels = min(int(config.max_shift * size), (size - 1) // 2)
    flips = rng.integers(2, size=count).astype(bool)
    turns = rng.integers(4 if config.poses == "dihedral" else 3, size=count)
    shifts = rng.integers(-max_pixels, max_pixels + 1, size=(count, 2))
    contrast, brightness = config.photometric * rng.uniform(-1, 1, size=(2, count))
    bias = -mean * contrast + std * brightness
    angles = np.radians(config.max_rotation) * rng.uniform(-1, 1, size=count)
    zooms = np.exp(config.max_zoom * rng.uniform(-1, 1, size=count))
    gain = (1 + contrast).astype(np.float32)
    return Augmentation(flips, turns, shifts, gain, bias.astype(np.float32), warps(angles, zooms, size))


def warps(angles: NDArray[np.float64], zooms: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Return transforms that rotate and enlarge an image about its centre.

    Args:
        angles: float64 [B], radians, counter-clockwise.
        zooms: float64 [B], factor by which the content is enlarged.
        size: Side of the images in pixels.

    Returns:
        float32 [B, 8], rows (a0, a1, a2, b0, b1, b2, 0, 0): the output pixel (x, y) is the input at
        (a0·x + a1·y + a2, b0·x + b1·y + b2), as tf.raw_ops.ImageProjectiveTransformV3 defines them.
    """
    cos, sin, centre = np.cos(angles) / zooms, np.sin(angles) / zooms, (size - 1) / 2
    right, down = centre * (1 - cos + sin), centre * (1 - sin - cos)
    zeros = np.zeros_like(cos)
    return np.stack([cos, -sin, right, sin, cos, down, zeros, zeros], 1).astype(np.float32)


def pose(image: Array, *, flip: bool, turns: int) -> Array:
    """Return a mirrored and rotated view of [S, S]; nothing is copied."""
    return np.rot90(image[:, ::-1] if flip else image, turns)


def shift_into(out: Array, image: Array, down: int, right: int) -> None:
    """Write the shifted `image` to `out`; reflection at the border, without the border pixel, fills the rest.

    Args:
        out: uint8 [S, S], contiguous.
        image: uint8 [S, S], any view.
        down: Shift in pixels, between -S / 2 and S / 2.
        right: Shift in pixels, between -S / 2 and S / 2.
    """
    if down < 0 or right < 0:
        y_step, x_step = (-1 if down < 0 else 1), (-1 if right < 0 else 1)
        shift_into(out[::y_step, ::x_step], image[::y_step, ::x_step], abs(down), abs(right))
        return
    size = image.shape[0]
    out[down:, right:] = image[: size - down, : size - right]
    out[down:, :right] = out[down:, right + 1 : 2 * right + 1][:, ::-1]
    out[:down] = out[down + 1 : 2 * down + 1][::-1]
