"""Pictures of predictions: image, label, probability, and where the two masks agree and differ."""

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

from tinyunet.model.metrics import Floats

Rgb = tuple[int, int, int]

# Okabe & Ito's palette, which colour-blind readers tell apart.
HIT: Rgb = (86, 180, 233)  # sky blue: found (tp)
FALSE: Rgb = (230, 159, 0)  # orange: predicted, not in the label (fp)
MISSED: Rgb = (204, 121, 167)  # purple: in the label, not predicted (fn)
LEGEND = (("found", HIT), ("false alarm", FALSE), ("missed", MISSED))
TITLES = ("image", "label", "probability", "comparison")
TILE, GAP, HEADER = 256, 4, 26
WIDTH = len(TITLES) * (TILE + GAP) - GAP
OPACITY = 0.55


@dataclass(frozen=True)
class Panel:
    """A drawn test image.

    Attributes:
        name: The image's name, as its maker chose it.
        file: File name of its PNG.
        caption: What is to be seen, in words.
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


def choose(images: Sequence[dict[str, Any]], threshold: float, count: int) -> tuple[list[int], list[int]]:
    """Pick the worst and the best test images, at most `count` of each and none twice.

    Worst: wrong at image level (farthest from the threshold first), then defective ones by rising Dice, up to
    half of these. Best: the other defective ones by falling Dice, then clean ones by rising score.

    Args:
        images: The rows of metrics.json: `defective`, `score`, `dice`.
        threshold: Image threshold (logit).
        count: How many of each.
    """
    order = sorted(range(len(images)), key=lambda i: _badness(images[i], threshold), reverse=True)
    notable = [i for i in order if images[i]["defective"] or _wrong(images[i], threshold)]
    worst = notable[: min(count, (len(notable) + 1) // 2)]
    rest = [i for i in reversed(order) if i not in worst]
    best = [i for i in rest if images[i]["defective"]] + [i for i in rest if not images[i]["defective"]]
    return worst, best[:count]


def compare(
    grey: NDArray[np.uint8], label: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Colour an image by hits, false alarms and misses: uint8 [S, S] and bool [S, S] to uint8 [S, S, 3]."""
    canvas = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for region, colour in (
        (label & predicted, HIT),
        (predicted & ~label, FALSE),
        (label & ~predicted, MISSED),
    ):
        canvas[region] = (1 - OPACITY) * canvas[region] + OPACITY * np.array(colour, np.float32)
        canvas[_edge(region)] = colour
    return canvas.round().astype(np.uint8)


def highlight(grey: NDArray[np.uint8], predicted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour a predicted mask on an image without a label: uint8 [H, W, 3]."""
    return compare(grey, predicted, predicted)


def panel(
    grey: NDArray[np.uint8], label: NDArray[np.bool_], probability: Floats, threshold: float
) -> Image.Image:
    """Draw image, label, probability and comparison of one image side by side."""
    heat = mpl.colormaps["cividis"](probability, bytes=True)[..., :3]
    mask = np.where(label, np.uint8(255), np.uint8(0))
    tiles = (grey, mask, heat, compare(grey, label, probability > threshold))
    strip = Image.new("RGB", (WIDTH, TILE), "grey")
    for i, tile in enumerate(tiles):
        resample = Image.Resampling.BOX if len(tile) > TILE else Image.Resampling.NEAREST
        picture = Image.fromarray(np.ascontiguousarray(tile)).convert("RGB").resize((TILE, TILE), resample)
        strip.paste(picture, (i * (TILE + GAP), 0))
    return strip


def file_name(rank: int, group: str, name: str) -> str:
    """Make a safe, sortable file name: names of images are not ours and may hold anything."""
    return f"{group}-{rank:02d}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)[:80]}.png"


def caption(row: dict[str, Any], threshold: float) -> str:
    """Describe one test image in words."""
    verdict = "flagged" if row["score"] > threshold else "passed"
    truth = "defective" if row["defective"] else "clean"
    dice = f"Dice {row['dice']:.3f}, " if row["dice"] is not None else ""
    return f"{dice}{truth} and {verdict}, score {row['score']:.2f}"


def save(panels: Sequence[Panel], folder: Path) -> None:
    """Write the panels as PNG files, with titles and legend above."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in panels:
        _with_header(item.picture).save(folder / item.file)


def _wrong(row: dict[str, Any], threshold: float) -> bool:
    return bool((row["score"] > threshold) != row["defective"])


def _badness(row: dict[str, Any], threshold: float) -> tuple[int, float]:
    """Sort key: wrong images, then defective, then clean ones; within these by margin, Dice and score."""
    if _wrong(row, threshold):
        return 2, abs(row["score"] - threshold)
    return (1, 1 - row["dice"]) if row["defective"] else (0, row["score"])


def _edge(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the pixels of a region that touch its outside."""
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
