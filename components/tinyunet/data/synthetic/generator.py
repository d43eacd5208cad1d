"""Synthetic images with the layout and the label statistics of one class of DAGM2007.

Every image has its own seed: the same options give the same bytes with the same software.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tinyunet.core.config_base import Config, NotNegative
from tinyunet.core.console import parallel_map
from tinyunet.core.errors import UserError, require
from tinyunet.data.layouts.dagm_split import FOLDERS
from tinyunet.data.layouts.labels import Row, format_labels
from tinyunet.data.pictures.pixels import GENERATED
from tinyunet.data.synthetic.textures import KINDS, Image, Kind

Pixels = NDArray[np.uint8]


class SyntheticConfig(Config):
    """Options of the synthetic images of one class.

    Attributes:
        train: Number of images in Train.
        test: Number of images in Test.
        size: Side of the images in pixels.
        seed: Seed of the images.
        defective: Fraction of defective images in each split.
    """

    train: int = 96
    test: int = 48
    size: int = 512
    seed: NotNegative = 0
    defective: Annotated[float, Field(gt=0, lt=1)] = 1 / 3

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        for name in ("train", "test"):
            require(2 <= getattr(self, name) <= 5000, name, getattr(self, name), "2 to 5000 images")
        require(32 <= self.size <= 2048, "size", self.size, "32 to 2048 pixels")
        return self

    def flags(self, split: str) -> list[bool]:
        """Return which images of a split are defective; at least one is, and at least one is not."""
        images = getattr(self, split)
        defective = min(max(1, round(images * self.defective)), images - 1)
        order = np.random.default_rng([self.seed, images, split == "train"]).permutation(images)
        return [bool(position < defective) for position in order]


def parse_source(source: str) -> SyntheticConfig:
    """Return the options in `synthetic://[?train=&test=&size=&seed=&defective=]`.

    Raises:
        UserError: for another form of source, an unknown option, or a value out of range.
    """
    parts = urlsplit(source)
    if parts.netloc or parts.path not in ("", "/"):
        raise UserError(f"{source!r} names a location; expected synthetic:// or synthetic://?options")
    return SyntheticConfig().replace(dict(parse_qsl(parts.query, keep_blank_values=True)))


def generate(folder: Path, class_id: int, config: SyntheticConfig) -> None:
    """Write one class in the official layout, where the numbering starts in Test and continues in Train.

    Args:
        folder: Folder for Train and Test; created if it does not exist.
        class_id: 1 to 10; it selects texture, defect and label statistics.
        config: Counts, size and seed.
    """
    samples = _list_samples(config)
    for name in FOLDERS.values():
        (folder / name / "Label").mkdir(parents=True, exist_ok=True)
    parallel_map(lambda item: _write(folder, item, class_id, config), samples, f"generating class {class_id}")
    for split, name in FOLDERS.items():
        rows = [item for item in samples if item.split == split]
        text = format_labels(
            Row(line, item.defective, item.image, item.mask) for line, item in enumerate(rows, start=2)
        )
        (folder / name / "Label" / "Labels.txt").write_bytes(text.encode())


def make_image(
    class_id: int, config: SyntheticConfig, number: int, *, defective: bool
) -> tuple[Pixels, Pixels]:
    """Return one image and its mask.

    Returns:
        Image and mask, uint8 [size, size]; the mask is 0 and 255, and all 0 without a defect.
    """
    kind, size = KINDS[class_id], config.size
    rng = np.random.default_rng([config.seed, class_id, number])
    image = kind.texture(rng, size)
    mask = np.zeros((size, size), np.uint8)
    if defective:
        u, v = _draw_ellipse(kind, size, rng)
        image = kind.defect(image, u, v, rng)
        mask[u * u + v * v <= 1] = 255
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask


@dataclass(frozen=True)
class _Sample:
    """One image to generate.

    Attributes:
        split: `train` or `test`.
        number: Number of the image, which determines its pixels.
        defective: Whether the image shows a defect.
    """

    split: str
    number: int
    defective: bool

    @property
    def image(self) -> str:
        return f"{self.number:04d}.PNG"

    @property
    def mask(self) -> str | None:
        return f"{self.number:04d}_label.PNG" if self.defective else None


def _list_samples(config: SyntheticConfig) -> list[_Sample]:
    flags = [(split, flag) for split in ("test", "train") for flag in config.flags(split)]
    return [_Sample(split, number, flag) for number, (split, flag) in enumerate(flags, start=1)]


def _write(folder: Path, sample: _Sample, class_id: int, config: SyntheticConfig) -> None:
    from PIL import Image as Picture
    from PIL.PngImagePlugin import PngInfo

    metadata = PngInfo()
    metadata.add_text(*GENERATED)
    base = folder / FOLDERS[sample.split]
    image, mask = make_image(class_id, config, sample.number, defective=sample.defective)
    Picture.fromarray(image).save(base / sample.image, format="PNG", compress_level=1, pnginfo=metadata)
    if sample.mask:
        Picture.fromarray(mask).save(base / "Label" / sample.mask, format="PNG", compress_level=6)


def _draw_length(rng: np.random.Generator, statistics: tuple[float, float, float]) -> float:
    """Draw from a beta distribution with the given lowest value, highest value and mean."""
    low, high, mean = statistics
    if high == low:
        return low
    relative_mean = (mean - low) / (high - low)
    return low + (high - low) * float(rng.beta(4 * relative_mean, 4 * (1 - relative_mean)))


def _draw_ellipse(kind: Kind, size: int, rng: np.random.Generator) -> tuple[Image, Image]:
    """Draw a label ellipse and return the coordinates u, v of every pixel along its semi-axes."""
    scale = size / 512
    first = max(_draw_length(rng, kind.first), 1 / scale)
    second = _draw_length(rng, kind.second) if kind.second else 0.571 * first
    second = max(min(first, second), 1 / scale)
    angle = rng.uniform(-kind.max_angle, kind.max_angle)
    extent = np.hypot(
        first * np.array([np.sin(angle), np.cos(angle)]), second * np.array([np.cos(angle), np.sin(angle)])
    )
    margin = np.zeros(2) if rng.random() < kind.clipped else np.minimum(extent, 255)
    cy, cx = rng.uniform(margin, 512 - margin) * scale
    y, x = np.ogrid[:size, :size]
    y, x = y + 0.5 - cy, x + 0.5 - cx
    u = (x * np.cos(angle) - y * np.sin(angle)) / (first * scale)
    v = (x * np.sin(angle) + y * np.cos(angle)) / (second * scale)
    return u.astype(np.float32), v.astype(np.float32)
