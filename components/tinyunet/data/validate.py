"""Validation of one class before anything is converted: every file is opened, every problem is collected."""

import collections
import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.data.dagm import FOLDERS, OFFICIAL_COUNTS, OFFICIAL_SIZE, SPLITS, Problem, Sample, scan_split
from tinyunet.data.progress import track
from tinyunet.errors import UserError

MAX_SIDE = 8192
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}


@dataclass(frozen=True)
class Checked:
    """One sample whose files were opened.

    Attributes:
        sample: The sample.
        shape: (height, width) of the image, None where it cannot be read.
        image_sha256: Of the image file.
        mask_sha256: Of the mask file, None without one.
        pixels_sha256: Of the decoded image, to find copies.
        mask_pixels: Pixels of the mask that are 255.
        problems: What is wrong with the two files.
    """

    sample: Sample
    shape: tuple[int, int] | None
    image_sha256: str
    mask_sha256: str | None
    pixels_sha256: str
    mask_pixels: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Report:
    """What validation found.

    Attributes:
        class_id: 1 to 10.
        complete: Whether the official counts and size hold in both splits, with real images.
        shape: (height, width) of the images, (0, 0) if there are none.
        checked: All samples, Train first, in order of name.
        problems: Everything that is wrong; empty for a good dataset.
        ignored: Files that are no part of the layout, such as Thumbs.db.
    """

    class_id: int
    complete: bool
    shape: tuple[int, int]
    checked: tuple[Checked, ...]
    problems: tuple[Problem, ...]
    ignored: tuple[str, ...]

    def counts(self) -> dict[str, dict[str, int]]:
        """Count images and defective images of each split."""
        flags = {
            split: [c.sample.defective for c in self.checked if c.sample.split == split] for split in SPLITS
        }
        return {split: {"images": len(found), "defective": sum(found)} for split, found in flags.items()}

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain values, for report.json."""
        return {
            "schema_version": 1,
            "class_id": self.class_id,
            "valid": not self.problems,
            "complete": self.complete,
            "image_shape": list(self.shape),
            "splits": self.counts(),
            "official": {
                s: dict(zip(("images", "defective"), OFFICIAL_COUNTS[self.class_id][s], strict=True))
                for s in SPLITS
            },
            "mask_pixels": {c.sample.name: c.mask_pixels for c in self.checked if c.sample.defective},
            "problems": [{"file": p.file, "message": p.message} for p in self.problems],
            "ignored": list(self.ignored),
        }


def validate(folder: Path, class_id: int, *, synthetic: bool = False) -> Report:
    """Check a class folder: pairs, sizes, dtypes, mask values, counts, duplicates.

    Args:
        folder: Holds Train and Test.
        class_id: 1 to 10.
        synthetic: Generated data never count as the official dataset.

    Returns:
        The report; it has problems where the data are bad.
    """
    samples: list[Sample] = []
    problems: list[Problem] = []
    for split in SPLITS:
        found, wrong = scan_split(folder, split)
        samples += found
        problems += wrong
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        work = pool.map(lambda sample: check_sample(sample, folder), samples)
        checked = list(track(work, "checking", total=len(samples)))
    problems += [problem for item in checked for problem in item.problems]
    problems += _shape_problems(checked) + _duplicates(checked, folder)
    count_problems = _count_problems(checked, class_id, synthetic=synthetic)
    shape = _common_shape(checked)
    complete = (
        not synthetic and not problems and not count_problems and _is_official(checked, class_id, shape)
    )
    return Report(
        class_id, complete, shape, tuple(checked), (*problems, *count_problems), tuple(_ignored(folder))
    )


def check_sample(sample: Sample, folder: Path) -> Checked:
    """Open the files of one sample."""
    data, image, problems = _load(sample.image_path, folder)
    mask_sha256, mask_pixels = None, 0
    if sample.mask_path:
        mask_data, mask, wrong = _load(sample.mask_path, folder)
        mask_sha256 = hashlib.sha256(mask_data).hexdigest()
        mask_pixels = int(np.count_nonzero(mask == 255)) if mask is not None else 0
        problems += wrong + _mask_problems(sample.mask_path.relative_to(folder), mask, image)
    pixels = hashlib.sha256(b"" if image is None else image.tobytes()).hexdigest()
    shape = None if image is None else (image.shape[0], image.shape[1])
    sha256 = hashlib.sha256(data).hexdigest()
    return Checked(sample, shape, sha256, mask_sha256, pixels, mask_pixels, tuple(problems))


def read_grey(data: bytes) -> NDArray[np.uint8]:
    """Decode an 8-bit grey PNG.

    Returns:
        uint8 [height, width].

    Raises:
        UserError: for any other kind of file; the message continues the file's name.
    """
    import io

    from PIL import Image

    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        raise UserError("is no PNG" if data else "is empty, expected a PNG")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    depth, colour = data[24], data[25]
    if (depth, colour) != (8, 0):
        raise UserError(f"is {depth}-bit {_COLOURS.get(colour, 'unknown')}, expected 8-bit grey")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise UserError(f"claims {width}×{height} pixels, expected at most {MAX_SIDE}×{MAX_SIDE}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            return np.asarray(picture, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"is truncated or damaged ({' '.join(str(error).split())})") from error


def _load(path: Path, folder: Path) -> tuple[bytes, NDArray[np.uint8] | None, list[Problem]]:
    data = path.read_bytes()
    try:
        return data, read_grey(data), []
    except UserError as error:
        return data, None, [Problem(str(path.relative_to(folder)), str(error))]


def _mask_problems(
    file: Path, mask: NDArray[np.uint8] | None, image: NDArray[np.uint8] | None
) -> list[Problem]:
    if mask is None:
        return []
    found = []
    if image is not None and mask.shape != image.shape:
        found.append(f"is {_size(mask.shape)}, its image {_size(image.shape)}")
    other = sorted({int(value) for value in np.unique(mask)} - {0, 255})
    if other:
        found.append(f"holds the value {other[0]}, expected only 0 and 255")
    elif not mask.any():
        found.append("is all 0, but its image is listed as defective")
    return [Problem(str(file), message) for message in found]


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}×{shape[0]}"


def _common_shape(checked: Iterable[Checked]) -> tuple[int, int]:
    shapes = collections.Counter(item.shape for item in checked if item.shape)
    return shapes.most_common(1)[0][0] if shapes else (0, 0)


def _shape_problems(checked: Sequence[Checked]) -> list[Problem]:
    common = _common_shape(checked)
    odd = [item for item in checked if item.shape and item.shape != common]
    problems = [
        Problem(_where(item), f"is {_size(item.shape or ())}, most are {_size(common)}") for item in odd
    ]
    if common[0] != common[1]:
        problems.append(Problem(_where(checked[0]), f"is {_size(common)}, expected square images"))
    return problems


def _where(item: Checked) -> str:
    return f"{FOLDERS[item.sample.split]}/{item.sample.image_path.name}"


def _duplicates(checked: Iterable[Checked], folder: Path) -> list[Problem]:
    first: dict[str, Checked] = {}
    problems = []
    for item in checked:
        if item.shape is None:
            continue
        other = first.setdefault(item.pixels_sha256, item)
        if other is not item:
            across = " of the other split" if other.sample.split != item.sample.split else ""
            problems.append(Problem(_where(item), f"has the same pixels as {_where(other)}{across}"))
    return problems


def _count_problems(checked: Sequence[Checked], class_id: int, *, synthetic: bool) -> list[Problem]:
    problems = []
    for split in SPLITS:
        flags = [item.sample.defective for item in checked if item.sample.split == split]
        images, defective = OFFICIAL_COUNTS[class_id][split]
        if not flags:
            problems.append(Problem(FOLDERS[split], "holds no usable image"))
        elif len(flags) == images and sum(flags) != defective and not synthetic:
            message = (
                f"has all {images} images of Class{class_id}, {sum(flags)} defective, expected {defective}"
            )
            problems.append(Problem(FOLDERS[split], message))
        else:
            for kind, count in (("defective", sum(flags)), ("defect-free", len(flags) - sum(flags))):
                if not count and split == "train":
                    problems.append(Problem(FOLDERS[split], f"holds no {kind} image"))
    return problems


def _is_official(checked: Sequence[Checked], class_id: int, shape: tuple[int, int]) -> bool:
    counts = {s: [item.sample.defective for item in checked if item.sample.split == s] for s in SPLITS}
    whole = all((len(counts[s]), sum(counts[s])) == OFFICIAL_COUNTS[class_id][s] for s in SPLITS)
    return whole and shape == (OFFICIAL_SIZE, OFFICIAL_SIZE)


def _ignored(folder: Path) -> list[str]:
    """Name what lies in the class folder and is neither a PNG nor a list of labels."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    known = [p for p in files if p.name == "Labels.txt" or (p.suffix.lower() == ".png" and p.name[0] != ".")]
    return [str(path.relative_to(folder)) for path in files if path not in set(known)]
