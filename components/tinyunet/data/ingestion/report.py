"""The validation report as one HTML page without external files."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyunet.core.documents.raw import RawManifest
from tinyunet.data.ingestion.prepare import PreparedSample
from tinyunet.data.ingestion.validate import Report
from tinyunet.data.pictures.opening import opened
from tinyunet.data.splits import SPLITS

THUMBNAIL = 160
BINS = 12


def render(report: Report, manifest: RawManifest, folder: Path) -> str:
    """Return the page: counts, histogram of mask areas, a few images with their masks, problems.

    Args:
        report: Validation report.
        manifest: Description of the same data set.
        folder: Folder of the written images and masks, which are read for the pictures.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tinyunet.data.ingestion", ".")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "validation.html"
    )
    areas = [  # percent of the image
        100 * item.mask_pixels / (item.shape[0] * item.shape[1])
        for item in report.samples
        if item.mask_pixels and item.shape
    ]
    return page.render(
        title=manifest.title,
        report=report,
        manifest=manifest,
        counts=report.counts(),
        official=report.official(),
        types=_count_types(report),
        areas=areas,
        bars=histogram(areas),
        pictures=[_picture(report, item, folder) for item in _choose_examples(report)],
    )


def histogram(areas: Sequence[float]) -> list[dict[str, float]]:
    """Return the histogram of mask areas as bars.

    Args:
        areas: Areas in percent of the image.

    Returns:
        The bars: `low` and `high` end in percent, `count` of masks, and `height` from 0 to 1.
    """
    if not areas:
        return []
    counts, edges = np.histogram(areas, bins=BINS, range=(0, max(areas)))
    return [
        {"low": float(low), "high": float(high), "count": int(count), "height": float(count / counts.max())}
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]


def _count_types(report: Report) -> dict[str, dict[str, int]]:
    """Return the number of images by defect type and split; empty without types."""
    counts: dict[str, dict[str, int]] = {}
    for item in report.samples:
        if name := report.defect_type(item):
            row = counts.setdefault(name, dict.fromkeys(SPLITS, 0))
            row[item.sample.split] += 1
    return dict(sorted(counts.items()))


def _choose_examples(report: Report) -> list[PreparedSample]:
    """Return up to three defective images of different types and one clean image of each split."""
    examples = []
    for split in SPLITS:
        items = [item for item in report.samples if item.sample.split == split]
        defective = [item for item in items if item.defective]
        by_type = {report.defect_type(item): item for item in reversed(defective)}
        rest = [item for item in defective if item not in by_type.values()]
        examples += [*by_type.values(), *rest][:3] + [item for item in items if not item.defective][:1]
    return examples


def _picture(report: Report, item: PreparedSample, folder: Path) -> dict[str, Any]:
    kind = report.defect_type(item)
    return {
        "name": item.sample.name,
        "split": item.sample.split,
        "verdict": f"defective{kind and f' ({kind})'}" if item.defective else "defect-free",
        "image": _thumbnail(folder / item.image),
        "mask": _thumbnail(folder / item.mask) if item.mask else None,
    }


def _thumbnail(path: Path) -> str:
    """Return a small PNG as a data URI; 16-bit grey is shown from its smallest to its largest value."""
    from PIL import Image

    with opened(path.read_bytes()) as picture:
        if picture.mode.startswith("I"):
            step = max(1, max(picture.size) // (4 * THUMBNAIL))  # limits the memory of large images
            values = np.asarray(picture)[::step, ::step].astype(np.float64)
            scaled = (values - values.min()) / max(1.0, float(np.ptp(values))) * 255
            shown = Image.fromarray(scaled.astype(np.uint8))
        else:
            shown = picture.copy()
    shown.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    file = io.BytesIO()
    shown.save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
