"""Generated images for the studies of sizes, in the layout `images/` beside `masks/`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinyunet.core.console import parallel_map

Grey = NDArray[np.uint8]
STRIP = 1024  # rows of a large image that are generated at a time


@dataclass(frozen=True)
class Sample:
    """An image to generate: its split, number in the data set, and whether it has a defect."""

    split: str
    number: int
    defective: bool


def list_samples(train: int, test: int, validation: int = 0, *, clean_every: int = 3) -> list[Sample]:
    """Return samples of which every `clean_every`-th is clean, or defective if `clean_every` is negative."""
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    every = abs(clean_every)
    return [
        Sample(split, number, (number % every != 0) == (clean_every > 0))
        for number, split in enumerate(splits)
    ]


def write_samples(folder: Path, samples: list[Sample], draw: Callable[[Sample], tuple[Grey, Grey]]) -> None:
    """Write every image, and its mask if it is defective; the mask of a clean image is empty.

    Args:
        folder: The folder of `images/<split>/` and `masks/<split>/`.
        samples: What is written.
        draw: Returns image and mask, uint8 [H, W] each.
    """
    for part in ("images", "masks"):
        for split in {sample.split for sample in samples}:
            (folder / part / split).mkdir(parents=True, exist_ok=True)

    def write(sample: Sample) -> None:
        for part, pixels in zip(("images", "masks"), draw(sample), strict=True):
            path = folder / part / sample.split / f"{sample.number:05}.png"
            Image.fromarray(pixels).save(path, compress_level=1)

    parallel_map(write, samples, "generating")


def smooth(rng: np.random.Generator, height: int, width: int, scale: int) -> NDArray[np.float32]:
    """Return smooth noise of unit variance at its nodes, which are `scale` pixels apart, float32 [H, W]."""
    nodes = rng.normal(size=(height // scale + 2, width // scale + 2)).astype(np.float32)
    size = (nodes.shape[1] * scale, nodes.shape[0] * scale)
    return np.asarray(Image.fromarray(nodes).resize(size, Image.Resampling.BICUBIC))[:height, :width]


def scratched(sample: Sample, side: int = 2048, defects: int = 8) -> tuple[Grey, Grey]:
    """Return an image with scratches of at most 12 pixels, bright on one side and dark on the other.

    A scratch is 2 pixels wide and 3 to 6 long. The mean over a block of pixels hardly shows it: the
    brightness of both sides cancels, and the texture is coarser than a block.
    """
    rng = np.random.default_rng((1, sample.number))
    image = 128 + 14 * smooth(rng, side, side, 12) + 3 * rng.standard_normal((side, side), np.float32)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(defects * sample.defective):
        length = rng.integers(3, 7)
        scratch = np.stack([np.full(length, 55.0), np.full(length, -55.0)]) * rng.choice((-1, 1))
        scratch = scratch.T if rng.random() < 0.5 else scratch
        top, left = rng.integers(16, side - 16, 2)
        part = np.s_[top : top + scratch.shape[0], left : left + scratch.shape[1]]
        image[part] += scratch
        mask[part] = 255
    return image.round().clip(0, 255).astype(np.uint8), mask


def coarse(sample: Sample, side: int = 512) -> tuple[Grey, Grey]:
    """Return an image that compresses well: smooth noise of few grey levels, and a dark spot as a defect."""
    rng = np.random.default_rng((2, sample.number))
    levels = (128 + 24 * smooth(rng, side, side, side // 8)).clip(32, 223)
    image = levels.astype(np.uint8) // 16 * 16
    mask = np.zeros((side, side), np.uint8)
    if sample.defective:
        top, left, height, width = (
            *rng.integers(0, side * 3 // 4, 2),
            *rng.integers(side // 32, side // 4, 2),
        )
        mask[top : top + height, left : left + width] = 255
        image[mask > 0] //= 4
    return image, mask


def write_large(path: Path, side: int) -> None:
    """Write one grey image of side² pixels with noise, which is generated in strips."""
    rng = np.random.default_rng(3)
    image = np.empty((side, side), np.uint8)
    for top in range(0, side, STRIP):
        rows = image[top : top + STRIP]
        levels = 128 + 14 * smooth(rng, len(rows), side, 12) + 3 * rng.standard_normal(rows.shape, np.float32)
        rows[...] = levels.clip(0, 255)
    Image.fromarray(image).save(path, compress_level=1)


def write_set_around(folder: Path, image: Path, side: int) -> None:
    """Write a data set of small images whose Test also has a large image, with 16 defects in its label."""
    for start, split, count in ((0, "train", 8), (8, "validation", 2), (10, "test", 2)):
        samples = [Sample(split, start + number, number % 2 == 0) for number in range(count)]
        write_samples(folder, samples, coarse)
    mask = np.zeros((side, side), np.uint8)
    places = np.random.default_rng(4).integers(0, side - 12, (16, 2))
    for top, left in places:
        mask[top : top + 12, left : left + 12] = 255
    Image.fromarray(mask).save(folder / "masks" / "test" / "large.png", compress_level=1)
    (folder / "images" / "test" / "large.png").hardlink_to(image)
