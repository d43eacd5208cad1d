"""Pictures of predictions: image, label, probability, and a comparison of prediction and label."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tinyunet.core.documents.evaluation import ImageResult
from tinyunet.engine.overlay import (
    FALSE_ALARM,
    HIT,
    MISSED,
    as_8_bits,
    draw_comparison,
)
from tinyunet.model.metrics import Floats

LEGEND = (("found", HIT), ("false alarm", FALSE_ALARM), ("missed", MISSED))
TITLES = ("image", "label", "probability", "comparison")
TILE, GAP, HEADER = 256, 4, 26
WIDTH = len(TITLES) * (TILE + GAP) - GAP
PANEL_SIDE = 1024  # largest side of an image that is drawn without reducing it


@dataclass(frozen=True)
class Panel:
    """The picture of a test image.

    Attributes:
        name: Name of the image in the dataset.
        file: File name of the PNG.
        caption: Description of the result, in words.
        picture: The four tiles in a row.
    """

    name: str
    file: str
    caption: str
    picture: Image.Image

    def data_uri(self) -> str:
        """Encode the picture for embedding in a page."""
        buffer = io.BytesIO()
        self.picture.save(buffer, "WEBP", quality=82)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def choose(images: Sequence[ImageResult], threshold: float, count: int) -> tuple[list[int], list[int]]:
    """Choose the worst and the best test images, `count` of each; no image is in both lists.

    The worst images are those with a wrong verdict, farthest from the threshold first, then defective ones by
    rising Dice; at most half of all these. The worst image of every other type of defect follows. The best
    images are the other defective ones by falling Dice, then clean ones by rising score.

    Args:
        images: All test images.
        threshold: Image threshold (logit).
        count: Largest number of images of each list, without those that are added for their type.

    Returns:
        Indices of the worst and of the best images.
    """
    order = sorted(range(len(images)), key=lambda i: _badness(images[i], threshold), reverse=True)
    candidates = [i for i in order if images[i].defective or _is_wrong(images[i], threshold)]
    worst = candidates[: min(count, (len(candidates) + 1) // 2)]
    worst += _worst_of_other_types(images, candidates, worst) if count else []
    others = [i for i in reversed(order) if i not in worst]
    best = [i for i in others if images[i].defective] + [i for i in others if not images[i].defective]
    return worst, best[:count]


def draw_panel(
    image: NDArray[Any], label: NDArray[np.bool_], probability: Floats, threshold: float
) -> Image.Image:
    """Draw image, label, probability and comparison of one image side by side.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, 3]; at most PANEL_SIDE pixels a side, see
            `inference.reduced`.
        label: bool [H, W].
        probability: float64 [H, W].
        threshold: Pixel threshold, a probability.
    """
    visible = as_8_bits(image)
    heat = mpl.colormaps["cividis"](probability, bytes=True)[..., :3]
    mask = np.where(label, np.uint8(255), np.uint8(0))
    tiles = (visible, mask, heat, draw_comparison(visible, label, probability > threshold))
    strip = Image.new("RGB", (WIDTH, TILE), "grey")
    longest = max(label.shape)
    width, height = (max(1, round(TILE * side / longest)) for side in label.shape[::-1])
    resample = Image.Resampling.BOX if longest > TILE else Image.Resampling.NEAREST
    for i, tile in enumerate(tiles):
        picture = Image.fromarray(np.ascontiguousarray(tile)).convert("RGB").resize((width, height), resample)
        strip.paste(picture, (i * (TILE + GAP) + (TILE - width) // 2, (TILE - height) // 2))
    return strip


def file_name(rank: int, group: str, name: str) -> str:
    """Return a safe, sortable file name; the name of an image comes from the user and may be any text."""
    return f"{group}-{rank:02d}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)[:80]}.png"


def caption(image: ImageResult, threshold: float) -> str:
    """Describe the result of one test image in words."""
    verdict = "flagged" if image.score > threshold else "passed"
    truth = "defective" if image.defective else "clean"
    truth += f" ({image.type})" if image.type else ""
    dice = f"Dice {image.dice:.3f}, " if image.dice is not None else ""
    return f"{dice}{truth} and {verdict}, score {image.score:.2f}"


def save(panels: Sequence[Panel], folder: Path) -> None:
    """Write the panels as PNG files, with titles and a legend above the tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    for panel in panels:
        _with_header(panel.picture).save(folder / panel.file)


def _worst_of_other_types(
    images: Sequence[ImageResult], order: Sequence[int], chosen: Sequence[int]
) -> list[int]:
    """Return the first image in the order of every type that no chosen image has."""
    first: dict[str, int] = {}
    for i in order:
        first.setdefault(images[i].type, i)
    known = {images[i].type for i in chosen} | {""}
    return [i for name, i in first.items() if name not in known]


def _is_wrong(image: ImageResult, threshold: float) -> bool:
    return (image.score > threshold) != image.defective


def _badness(image: ImageResult, threshold: float) -> tuple[int, float]:
    """Return a sort key: wrong verdicts (by margin), then defective images (by Dice), then clean ones."""
    if _is_wrong(image, threshold):
        return 2, abs(image.score - threshold)
    return (0, image.score) if image.dice is None else (1, 1 - image.dice)


def _with_header(strip: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (strip.width, strip.height + HEADER), "white")
    sheet.paste(strip, (0, HEADER))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for i, title in enumerate(TITLES[:3]):  # the legend is the title of the comparison
        draw.text((i * (TILE + GAP) + 2, 5), title, fill="black", font=font)
    x = 3 * (TILE + GAP) + 2
    for text, colour in LEGEND:
        draw.rectangle((x, 8, x + 9, 17), fill=colour)
        draw.text((x + 13, 5), text, fill="black", font=font)
        x += 24 + round(draw.textlength(text, font=font))
    return sheet
