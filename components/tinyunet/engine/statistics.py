"""Statistics of one image, by which a server notices that its images have changed.

All are computed from means and differences of grey levels, cost a few milliseconds, and are one number each:

- `brightness`: mean level, as a fraction of the largest possible level.
- `contrast`: standard deviation of the levels, as a fraction of the largest possible level.
- `sharpness`: logarithm of half the mean squared difference of neighbours, divided by the variance. It is the
  gradient energy by which cameras focus (Subbarao, Choi and Nikzad, "Focusing techniques", 1993), relative to
  the contrast, so that other light does not change it.
- `texture.…`: the same for pixels that are 2, 4, 8 and 16 pixels apart along rows and along columns, relative
  to neighbours: points of the variogram (Matheron, "Principles of geostatistics", 1963; for textures: Carr
  and de Miranda, "The semivariogram in comparison to the co-occurrence matrix for classification of image
  texture", 1998). Further, rows relative to columns, and the skewness of the levels.
- `colour.…`: mean of red minus green, and of blue minus green, of colour images only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.data.resize import area_average

CAUSES = ("brightness", "contrast", "sharpness", "texture", "colour")
"""Groups of the statistics: the part of their names before the dot."""
LAGS = (2, 4, 8, 16)
WHOLE = 1 << 20  # pixels; of larger images, crops are taken
CROP, CROPS = 256, 4  # side of a crop in pixels, crops along each side of the image
_TINY = 1e-8  # variance of an image without contrast, in squared fractions of the largest level
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def names(channels: int) -> tuple[str, ...]:
    """Return the names of the statistics of images with 1 or 3 channels, in the order of `measure`."""
    texture = [f"texture.{axis}{lag}" for axis in ("x", "y") for lag in LAGS]
    colour = ["colour.red", "colour.blue"] if channels == 3 else []
    return ("brightness", "contrast", "sharpness", *texture, "texture.direction", "texture.skewness", *colour)


def measure(image: NDArray[Any], size: int | tuple[int, int] = 0) -> NDArray[np.float64]:
    """Return the statistics of an image, as the network sees it.

    Args:
        image: uint8 or uint16 [H, W], [H, W, 1] or [H, W, 3].
        size: Side, or height and width, in pixels at which the network takes the image; 0 for its own size.

    Returns:
        float64 [len(names(channels))].

    The mean of a checkerboard of 0 and 255 is 0.5, and so is its standard deviation. Neighbours differ by 1,
    half of whose square is twice the variance of 0.25. The logarithm of 2 is 0.69:

    >>> measure(np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255)[:3].round(2).tolist()
    [0.5, 0.5, 0.69]
    """
    pixels = area_average(image, size) if size else image
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    scale = np.float32(1 / np.iinfo(image.dtype).max)
    crops = [crop.astype(np.float32) * scale for crop in _crops(pixels)]
    grey = [crop if crop.ndim == 2 else np.asarray(crop @ _LUMA, np.float32) for crop in crops]
    values = _of_grey(grey)
    if pixels.ndim == 3:
        red, green, blue = np.mean([crop.mean(axis=(0, 1), dtype=np.float64) for crop in crops], axis=0)
        values += [red - green, blue - green]
    return np.array(values, np.float64)


def _crops(pixels: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the image or, of a large one, crops on a grid, at its own scale so that they are as sharp."""
    height, width = pixels.shape[:2]
    if height * width <= WHOLE:
        return [pixels]
    tops, lefts = (
        np.unique(np.linspace(0, max(side - CROP, 0), CROPS).astype(int)) for side in (height, width)
    )
    return [pixels[top : top + CROP, left : left + CROP] for top in tops for left in lefts]


def _of_grey(crops: list[NDArray[np.float32]]) -> list[float]:
    count = sum(crop.size for crop in crops)
    mean = sum(float(crop.sum(dtype=np.float64)) for crop in crops) / count
    centred = [crop - np.float32(mean) for crop in crops]
    variance = sum(float(np.vdot(crop, crop)) for crop in centred) / count
    third = sum(float((crop * crop * crop).sum(dtype=np.float64)) for crop in centred) / count
    x, y = ([_roughness(crops, lag, axis, variance) for lag in (1, *LAGS)] for axis in (1, 0))
    return [
        mean,
        float(np.sqrt(variance)),
        float(np.logaddexp(x[0], y[0]) - np.log(2)),
        *(value - x[0] for value in x[1:]),
        *(value - y[0] for value in y[1:]),
        x[0] - y[0],
        third / (variance + _TINY) ** 1.5,
    ]


def _roughness(crops: list[NDArray[np.float32]], lag: int, axis: int, variance: float) -> float:
    """Return the logarithm of the variogram at a lag, divided by the variance; 0 for uncorrelated pixels."""
    energy, count = 0.0, 0
    for crop in crops:
        step = min(lag, crop.shape[axis] - 1)  # of an image that is smaller than the lag
        ends = (
            (crop[step:], crop[: len(crop) - step])
            if axis == 0
            else (crop[:, step:], crop[:, : -step or None])
        )
        difference = ends[0] - ends[1]
        energy += float(np.vdot(difference, difference))
        count += difference.size
    return float(np.log((energy / count / 2 + _TINY) / (variance + _TINY)))
