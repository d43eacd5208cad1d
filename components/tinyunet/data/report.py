"""The validation report as one HTML page without external files."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyunet.core.documents.raw import RawManifest
from tinyunet.data.dagm import OFFICIAL_COUNTS, SPLITS
from tinyunet.data.pixels import Checked, read_grey
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
    shares = [
        100 * item.mask_pixels / (report.shape[0] * report.shape[1])
        for item in report.checked
        if item.mask_pixels
    ]
    return page.render(
        report=report,
        manifest=manifest,
        counts=report.counts(),
        official=OFFICIAL_COUNTS[report.class_id],
        shares=shares,
        bars=bars(shares),
        pictures=[_picture(item) for item in _chosen(report.checked)],
    )


def bars(shares: Sequence[float]) -> list[dict[str, float]]:
    """Return the bins of mask areas: `low` and `high` in percent of the image, `count`, `height` 0 to 1."""
    if not shares:
        return []
    counts, edges = np.histogram(shares, bins=BINS, range=(0, max(shares)))
    return [
        {"low": float(low), "high": float(high), "count": int(count), "height": float(count / counts.max())}
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]


def _chosen(checked: Sequence[Checked]) -> list[Checked]:
    """Return three defective images and one defect-free image of each split."""
    chosen = []
    for split in SPLITS:
        for flag, count in ((True, 3), (False, 1)):
            chosen += [c for c in checked if c.sample.split == split and c.sample.defective == flag][:count]
    return chosen


def _picture(item: Checked) -> dict[str, Any]:
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
