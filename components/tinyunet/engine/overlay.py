"""Pictures of masks: regions of an image coloured by what was found in them, without matplotlib."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rgb = tuple[int, int, int]

# Okabe & Ito's palette, whose colours colour-blind readers can distinguish.
HIT: Rgb = (86, 180, 233)  # sky blue: in the label and predicted (tp)
FALSE_ALARM: Rgb = (230, 159, 0)  # orange: predicted, not in the label (fp)
MISSED: Rgb = (204, 121, 167)  # purple: in the label, not predicted (fn)
OPACITY = 0.55
OVERLAY_SIDE = 2048  # largest side of an image that is drawn without reducing it
STRIP = 512  # rows of an image that are reduced at a time


def highlight(image: NDArray[Any], predicted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour a predicted mask on an image without a label; large images are reduced.

    Args:
        image: uint8 or uint16, [H, W], [H, W, 1] or [H, W, 3].
        predicted: bool [H, W].

    Returns:
        uint8 [H, W, 3], or [H / n, W / n, 3] so that no side is above OVERLAY_SIDE.
    """
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    factor = reduction(pixels.shape, OVERLAY_SIDE)
    mask = reduce_by_maximum(predicted, factor)
    return draw_comparison(reduce_image(pixels, factor), mask, mask)


def draw_comparison(
    image: NDArray[Any], label: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Colour hits, false alarms and misses on an image.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, 3].
        label: bool [H, W].
        predicted: bool [H, W].

    Returns:
        uint8 [H, W, 3].
    """
    visible = as_8_bits(image)
    canvas = (visible if visible.ndim == 3 else np.repeat(visible[..., None], 3, axis=2)).astype(np.float32)
    for region, colour in (
        (label & predicted, HIT),
        (predicted & ~label, FALSE_ALARM),
        (label & ~predicted, MISSED),
    ):
        canvas[region] = (1 - OPACITY) * canvas[region] + OPACITY * np.array(colour, np.float32)
        canvas[_edge(region)] = colour
    return canvas.round().astype(np.uint8)


def as_8_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image for display; 16-bit levels are scaled so that the largest one is white."""
    if image.dtype == np.uint8:
        return image
    return np.asarray(image * (255.0 / max(1, int(image.max()))), np.uint8)


def reduction(shape: Sequence[int], side: int) -> int:
    """Return the factor by which an image of [H, W, …] pixels is reduced so that no side is above `side`."""
    return -(-max(shape[:2]) // side)


def reduce_image(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return an image that is reduced by a whole factor, block by block; of 16 bits, one pixel per block."""
    if factor == 1:
        return image
    if image.dtype != np.uint8:
        return image[::factor, ::factor]
    rows = factor * max(1, STRIP // factor)
    strips = (image[top : top + rows] for top in range(0, len(image), rows))  # Pillow copies what it reduces
    return np.concatenate([np.asarray(Image.fromarray(strip).reduce(factor)) for strip in strips])


def reduce_by_maximum(values: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the largest value of every block of `factor` × `factor` pixels of [H, W]."""
    return values if factor == 1 else reduce_bands([values], factor)


def reduce_bands(bands: Iterable[NDArray[Any]], factor: int) -> NDArray[Any]:
    """Return the largest value of every block of `factor` × `factor` pixels of an image in bands of rows.

    Args:
        bands: [rows, W] each, from top to bottom; their heights need not be multiples of the factor.
        factor: Side of a block in pixels.
    """

    def largest(values: NDArray[Any], axis: int) -> NDArray[Any]:
        return np.maximum.reduceat(values, np.arange(0, values.shape[axis], factor), axis=axis)

    return largest(np.concatenate([largest(band, 1) for band in bands]), 0)


def _edge(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a region that have a neighbour outside it."""
    padded = np.pad(region, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(region & ~inner)
