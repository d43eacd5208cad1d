"""Ten texture classes and their defects, for the synthetic images.

A texture is a function of a random generator and the side of the image. A defect changes a texture inside an
ellipse. The coordinates u and v run along the first and the second semi-axis of the ellipse, from 0 at its
centre to 1 at its border.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Rng = np.random.Generator
Texture = Callable[[Rng, int], Image]
Defect = Callable[[Image, Image, Image, Rng], Image]


@dataclass(frozen=True)
class Kind:
    """Texture, defect and label statistics of one class.

    Attributes:
        texture: Function that returns grey levels, float32 [size, size].
        defect: Function that returns a changed copy of a texture, from texture, u and v.
        first: Lowest value, highest value and mean of the first semi-axis, in pixels at an image side of 512.
        second: The same for the second semi-axis; None stands for 0.571 times the first semi-axis.
        max_angle: Largest absolute rotation in radians.
        clipped: Fraction of the ellipses that may extend beyond the border of the image.
    """

    texture: Texture
    defect: Defect
    first: tuple[float, float, float]
    second: tuple[float, float, float] | None
    max_angle: float = np.pi / 2
    clipped: float = 0.0


def _grey(values: NDArray[Any]) -> Image:
    return np.asarray(values, np.float32)


def _blurred(image: Image, y: float, x: float) -> Image:
    """Return the image blurred by Gaussians of y and x pixels (at 512), periodic at the border."""
    size = len(image)
    fy, fx = np.fft.fftfreq(size)[:, None] * y, np.fft.rfftfreq(size)[None, :] * x
    gain = np.exp(-2 * (np.pi * size / 512) ** 2 * (fy**2 + fx**2)).astype(np.float32)
    return _grey(np.fft.irfft2(np.fft.rfft2(image) * gain, s=image.shape))


def _noise(rng: Rng, size: int, y: float, x: float) -> Image:
    """Return Gaussian noise of unit deviation, blurred by y and x pixels (at 512)."""
    noise = _blurred(rng.standard_normal((size, size), dtype=np.float32), y, x)
    return _grey(noise / noise.std())


def _grid(size: int) -> tuple[Image, Image]:
    """Return y and x of every pixel, in pixels at 512."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (512 / size)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y, x


def _inside(u: Image, v: Image, edge: float = 0.3) -> Image:
    """Return a soft window: 1 in the centre of the ellipse, 0 at its border and outside."""
    window: Image = np.clip((1 - np.sqrt(u * u + v * v)) / edge, 0, 1)
    return window


def _moire(rng: Rng, size: int) -> Image:
    y, x = _grid(size)
    cy, cx = rng.uniform(150, 362, 2)
    bend = ((y - cy) ** 2 - (x - cx) ** 2) / rng.uniform(900, 1500)
    carrier = np.sin(x * 0.9 + bend * 0.3) * np.sin(y * 0.9 - bend * 0.3)
    return _grey(75 + 6 * np.cos(bend * 0.05) + 24 * carrier + 10 * _noise(rng, size, 0.6, 0.6))


def _streaks(rng: Rng, size: int) -> Image:
    return 95 + 45 * _noise(rng, size, 14, 0.9)


def _cloth(rng: Rng, size: int) -> Image:
    return (
        128
        + 16 * _noise(rng, size, 200, 18)
        + 18 * _noise(rng, size, 3, 5)
        + 10 * _noise(rng, size, 0.5, 0.5)
    )


def _creases(rng: Rng, size: int) -> Image:
    y, x = _grid(size)
    cy, cx = rng.uniform(216, 296, 2)
    phi, radius = np.arctan2(y - cy, x - cx), np.hypot(y - cy, x - cx)
    rays = np.zeros_like(phi)
    for turns in rng.integers(9, 45, 5):
        rays += np.sin(turns * phi + rng.uniform(0, 6.3) + 0.004 * radius)
    paper = _noise(rng, size, 1.2, 1.2) - _noise(rng, size, 2.5, 2.5)
    return _grey(182 + 6 * rays * np.exp(-radius / 260) + 6 * paper - 60 * np.exp(-((radius / 14) ** 2)))


def _clouds(rng: Rng, size: int) -> Image:
    scales = sum((_noise(rng, size, s, s) for s in (0.6, 1.5, 4, 12, 40)), np.zeros((size, size), np.float32))
    return 120 + 12 * scales


def _blotches(rng: Rng, size: int) -> Image:
    return _grey(100 + 75 * np.tanh(2.5 * _noise(rng, size, 2.2, 2.2)) + 8 * _noise(rng, size, 0.5, 0.5))


def _weave(rng: Rng, size: int) -> Image:
    y, x = _grid(size)
    y, x = y + rng.uniform(0, 40) + 1.5 * _noise(rng, size, 25, 25), x + rng.uniform(0, 40)
    over = np.sign(np.sin(np.pi * x / 12) * np.sin(np.pi * y / 12))
    warp, weft = np.abs(np.sin(np.pi * x / 12)), np.abs(np.sin(np.pi * y / 12))
    return _grey(110 + 50 * (np.where(over > 0, warp, weft) - 0.5) + 9 * _noise(rng, size, 0.8, 0.8))


def _stripes(rng: Rng, size: int) -> Image:
    y, x = _grid(size)
    phase = 0.42 * (x + y) + 1.2 * _noise(rng, size, 45, 45) + rng.uniform(0, 6.3)
    return _grey(140 + 34 * np.sin(phase) + 12 * _noise(rng, size, 1, 1))


def _cells(rng: Rng, size: int) -> Image:
    walls = np.abs(_noise(rng, size, 6, 6))
    return _grey(90 + 70 * np.exp(-walls * 5) + 12 * _noise(rng, size, 1.5, 1.5))


def _dots(rng: Rng, size: int) -> Image:
    y, x = _grid(size)
    y, x = y + 3 * _noise(rng, size, 60, 60) + rng.uniform(0, 20), x + 3 * _noise(rng, size, 60, 60)
    lattice = np.clip(np.sin(np.pi * x / 9) * np.sin(np.pi * y / 9), 0, None)
    return _grey(70 + 85 * lattice + 8 * _noise(rng, size, 0.7, 0.7))


def _blur(image: Image, u: Image, v: Image, rng: Rng) -> Image:
    """Blur the texture, as an out-of-focus spot does."""
    width = rng.uniform(3, 5) * max(1, 128 / len(image))
    return image + (_blurred(image, width, width) - image) * _inside(u, v)


def _stroke(depth: float, width: float) -> Defect:
    """Return a defect: a bent line along u, `depth` grey levels lighter and `width` pixels (at 512) wide."""

    def draw(image: Image, u: Image, v: Image, rng: Rng) -> Image:
        bend = rng.uniform(-0.7, 0.7)
        per_v = 1 / max(float(np.abs(np.diff(v, axis=0)).max()), float(np.abs(np.diff(v, axis=1)).max()))
        distance = np.abs(v - bend * (u * u - 0.5)) * per_v
        line = np.exp(-((distance / max(width * image.shape[0] / 512, 0.8)) ** 2)) * (np.abs(u) < 0.85)
        return _grey(image + depth * line * (u * u + v * v < 1))

    return draw


def _speckles(image: Image, u: Image, v: Image, rng: Rng) -> Image:
    """Add bright particles."""
    particles = np.clip(_noise(rng, image.shape[0], 2.5, 2.5) - 0.4, 0, 1.2) * _inside(u, v, 0.6)
    return _grey(image + 140 * particles)


def _hatch(image: Image, u: Image, v: Image, rng: Rng) -> Image:
    """Add a small patch of fine lines."""
    y, x = _grid(image.shape[0])
    angle = rng.uniform(0, np.pi)
    lines = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 0.65)
    return _grey(image + 38 * lines * _inside(u, v, 0.5))


def _shade(image: Image, u: Image, v: Image, rng: Rng) -> Image:
    """Darken a band."""
    return image * (1 - rng.uniform(0.45, 0.6) * _inside(u, v, 0.8))


def _fray(image: Image, u: Image, v: Image, rng: Rng) -> Image:
    """Replace the texture by coarse noise, as loose threads do."""
    threads = image.mean() + 24 * _noise(rng, len(image), 5, 5)
    return _grey(image + (threads - image) * 0.8 * _inside(u, v))


def _mirror(image: Image, u: Image, v: Image, rng: Rng) -> Image:
    """Mirror the texture."""
    mirrored = np.roll(image[:, ::-1], rng.integers(len(image)), axis=1)
    return image + (mirrored - image) * _inside(u, v, 0.15)


def _fade(image: Image, u: Image, v: Image, rng: Rng) -> Image:
    """Remove most of the contrast, as missing print does."""
    level = np.median(image)
    return image + (level - image) * rng.uniform(0.65, 0.85) * _inside(u, v, 0.3)


# Classes 1-6: semi-axes, angles and clipping are the published label parameters of the development data.
# Classes 7-10: no parameters are published; these are chosen for this project.
KINDS: dict[int, Kind] = {
    1: Kind(_moire, _blur, (33, 96, 60), (23, 95, 48), clipped=0.1),
    2: Kind(_streaks, _stroke(-90, 2.0), (23, 104, 55), (5, 52, 14), max_angle=0.79),
    3: Kind(_cloth, _speckles, (21, 103, 48), (10, 46, 23)),
    4: Kind(_creases, _stroke(-40, 2.5), (23, 157, 75), (20, 43, 30)),
    5: Kind(_clouds, _hatch, (36, 72, 54), None, clipped=1.0),
    6: Kind(_blotches, _shade, (260, 260, 260), (30, 30, 30), clipped=1.0),
    7: Kind(_weave, _fray, (30, 90, 55), (15, 45, 28)),
    8: Kind(_stripes, _mirror, (25, 70, 40), (12, 30, 20)),
    9: Kind(_cells, _stroke(70, 2.0), (40, 110, 70), (12, 30, 20)),
    10: Kind(_dots, _fade, (25, 70, 45), (20, 50, 32)),
}
