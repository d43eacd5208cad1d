"""The validation report as one HTML page without external files."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyunet.core.documents.raw import RawManifest
from tinyunet.data.layouts.dagm import OFFICIAL_COUNTS, SPLITS
from tinyunet.data.pictures.pixels import CheckedSample, read_grey
from tinyunet.data.validate import Report

THUMBNAIL = 160
BINS = 12


def render(report: Report, manifest: RawManifest) -> str:
    """Return the page: counts, histogram of mask areas, a few images with their masks, problems.

    Args:
        report: Validation report; the files of its samples are read for the pictures.
        manifest: Manifest of the same dataset.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tinyunet.data", ".")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "validation.html"
    )
    areas = [  # percent of the image
        100 * item.mask_pixels / (report.shape[0] * report.shape[1])
        for item in report.checked
        if item.mask_pixels
    ]
    return page.render(
        report=report,
        manifest=manifest,
        counts=report.counts(),
        official=OFFICIAL_COUNTS[report.class_id],
        areas=areas,
        bars=histogram(areas),
        pictures=[_picture(item) for item in _choose_examples(report.checked)],
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


def _choose_examples(checked: Sequence[CheckedSample]) -> list[CheckedSample]:
    """Return three defective images and one defect-free image of each split."""
    examples = []
    for split in SPLITS:
        for flag, count in ((True, 3), (False, 1)):
            examples += [c for c in checked if c.sample.split == split and c.sample.defective == flag][:count]
    return examples


def _picture(item: CheckedSample) -> dict[str, Any]:
    sample = item.sample
    return {
        "name": sample.name,
        "split": sample.split,
        "defective": sample.defective,
        "image": _thumbnail(sample.image_path),
        "mask": _thumbnail(sample.mask_path) if sample.mask_path else None,
    }


def _thumbnail(path: Path) -> str:
    """Return a small PNG as a data URI."""
    from PIL import Image

    picture = Image.fromarray(read_grey(path.read_bytes())).resize(
        (THUMBNAIL, THUMBNAIL), Image.Resampling.BOX
    )
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
