"""Ingested data sets in their canonical form, written without `ingest`, and their records."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tinyunet.core.config import DataConfig
from tinyunet.core.documents.raw import RawFile, RawManifest, SplitCounts
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.tfrecord import convert


@dataclass(frozen=True)
class Part:
    """One sample: its split, its pixels, and its mask if it is defective."""

    name: str
    split: str
    image: Any
    mask: Any = None
    defect_type: str = ""
    group: str = ""


def random_parts(
    shapes: Sequence[tuple[int, ...]], *, dtype: Any = np.uint8, split: str = "train", first: int = 0
) -> list[Part]:
    """Return random images of these shapes; every second one is defective."""
    rng = np.random.default_rng(first)
    parts = []
    for number, shape in enumerate(shapes, start=first):
        image = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
        mask = (rng.random(shape[:2]) < 0.3).astype(np.uint8) * np.uint8(255) if number % 2 else None
        kind = "" if mask is None else "scratch"
        parts.append(Part(f"{number:03d}", split, image, mask, kind))
    return parts


def write_dataset(folder: Path, parts: Sequence[Part], **changes: Any) -> Path:
    """Write images, masks and dataset.json."""
    files = [_write_part(folder, part) for part in parts]
    image = np.asarray(parts[0].image)
    manifest = RawManifest(
        source="test",
        dataset="parts",
        digest="d" * 64,
        complete=False,
        synthetic=False,
        channels=3 if image.ndim == 3 else 1,
        bits=8 * image.itemsize,
        image_shape=image.shape[:2],
        splits={
            split: SplitCounts(images=1, defective=1) for split in sorted({part.split for part in parts})
        },
        files=tuple(files),
    )
    manifest.model_copy(update=changes).write(folder)
    return folder


def make_records(
    folder: Path, parts: Sequence[Part], config: DataConfig | None = None
) -> tuple[Path, RecordsManifest]:
    """Write a data set and convert it; return the folder of the records and their manifest."""
    records = folder / "records"
    manifest = convert(write_dataset(folder / "raw", parts), records, config or DataConfig(shards=2))
    return records, manifest


def _write_part(folder: Path, part: Part) -> RawFile:
    paths = {"image": f"images/{part.split}/{part.name}.png", "mask": f"masks/{part.split}/{part.name}.png"}
    hashes = {}
    for key, pixels in (("image", part.image), ("mask", part.mask)):
        if pixels is not None:
            path = folder / paths[key]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            hashes[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return RawFile(
        split=part.split,
        name=part.name,
        image=paths["image"],
        mask=paths["mask"] if part.mask is not None else None,
        image_sha256=hashes["image"],
        mask_sha256=hashes.get("mask"),
        pixels_sha256=hashlib.sha256(np.asarray(part.image).tobytes()).hexdigest(),
        defective=part.mask is not None,
        defect_type=part.defect_type,
        group=part.group,
    )
