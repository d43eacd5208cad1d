"""Pictures of predictions: image, label, probability, and a comparison of prediction and label."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tinyunet.core.documents.evaluation import ImageResult
from tinyunet.model.metrics import Floats

Rgb = tuple[int, int, int]

# Okabe & Ito's palette, whose colours colour-blind readers can distinguish.
HIT: Rgb = (86, 180, 233)  # sky blue: in the label and predicted (tp)
FALSE_ALARM: Rgb = (230, 159, 0)  # orange: predicted, not in the label (fp)
MISSED: Rgb = (204, 121, 167)  # purple: in the label, not predicted (fn)
LEGEND = (("found", HIT), ("false alarm", FALSE_ALARM), ("missed", MISSED))
TITLES = ("image", "label", "probability", "comparison")
TILE, GAP, HEADER = 256, 4, 26
WIDTH = len(TITLES) * (TILE + GAP) - GAP
OPACITY = 0.55


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
    """Choose the worst and the best test images, at most `count` of each; no image is in both lists.

    The worst images are those with a wrong verdict, farthest from the threshold first, then defective ones by
    rising Dice; at most half of all these. The best images are the other defective ones by falling Dice, then
    clean ones by rising score.

    Args:
        images: All test images.
        threshold: Image threshold (logit).
        count: Largest number of images of each list.

    Returns:
        Indices of the worst and of the best images.
    """
    order = sorted(range(len(images)), key=lambda i: _badness(images[i], threshold), reverse=True)
    candidates = [i for i in order if images[i].defective or _is_wrong(images[i], threshold)]
    worst = candidates[: min(count, (len(candidates) + 1) // 2)]
    others = [i for i in reversed(order) if i not in worst]
    best = [i for i in others if images[i].defective] + [i for i in others if not images[i].defective]
    return worst, best[:count]


def draw_comparison(
    grey: NDArray[np.uint8], label: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Colour hits, false alarms and misses on an image: uint8 [S, S] and bool [S, S] to uint8 [S, S, 3]."""
    canvas = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for region, colour in (
        (label & predicted, HIT),
        (predicted & ~label, FALSE_ALARM),
        (label & ~predicted, MISSED),
    ):
        canvas[region] = (1 - OPACITY) * canvas[region] + OPACITY * np.array(colour, np.float32)
        canvas[_edge(region)] = colour
    return canvas.round().astype(np.uint8)


def highlight(grey: NDArray[np.uint8], predicted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour a predicted mask on an image without a label: uint8 [H, W, 3]."""
    return draw_comparison(grey, predicted, predicted)


def draw_panel(
    grey: NDArray[np.uint8], label: NDArray[np.bool_], probability: Floats, threshold: float
) -> Image.Image:
    """Draw image, label, probability and comparison of one image side by side."""
    heat = mpl.colormaps["cividis"](probability, bytes=True)[..., :3]
    mask = np.where(label, np.uint8(255), np.uint8(0))
    tiles = (grey, mask, heat, draw_comparison(grey, label, probability > threshold))
    strip = Image.new("RGB", (WIDTH, TILE), "grey")
    for i, tile in enumerate(tiles):
        resample = Image.Resampling.BOX if len(tile) > TILE else Image.Resampling.NEAREST
        picture = Image.fromarray(np.ascontiguousarray(tile)).convert("RGB").resize((TILE, TILE), resample)
        strip.paste(picture, (i * (TILE + GAP), 0))
    return strip


def file_name(rank: int, group: str, name: str) -> str:
    """Return a safe, sortable file name; the name of an image comes from the user and may be any text."""
    return f"{group}-{rank:02d}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)[:80]}.png"


def caption(image: ImageResult, threshold: float) -> str:
    """Describe the result of one test image in words."""
    verdict = "flagged" if image.score > threshold else "passed"
    truth = "defective" if image.defective else "clean"
    dice = f"Dice {image.dice:.3f}, " if image.dice is not None else ""
    return f"{dice}{truth} and {verdict}, score {image.score:.2f}"


def save(panels: Sequence[Panel], folder: Path) -> None:
    """Write the panels as PNG files, with titles and a legend above the tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    for panel in panels:
        _with_header(panel.picture).save(folder / panel.file)


def _is_wrong(image: ImageResult, threshold: float) -> bool:
    return (image.score > threshold) != image.defective


def _badness(image: ImageResult, threshold: float) -> tuple[int, float]:
    """Return a sort key: wrong verdicts (by margin), then defective images (by Dice), then clean ones."""
    if _is_wrong(image, threshold):
        return 2, abs(image.score - threshold)
    return (0, image.score) if image.dice is None else (1, 1 - image.dice)


def _edge(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a region that have a neighbour outside it."""
    padded = np.pad(region, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(region & ~inner)


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
