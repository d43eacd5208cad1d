"""Validation of one class before its conversion: every file is decoded, every problem is reported."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyunet.core.console import parallel_map
from tinyunet.core.documents.raw import SplitCounts
from tinyunet.data.dagm import FOLDERS, OFFICIAL_COUNTS, OFFICIAL_SIZE, SPLITS, Problem, Sample, scan_split
from tinyunet.data.pixels import Checked, check_sample, size_text


@dataclass(frozen=True)
class Report:
    """The result of a validation.

    Attributes:
        class_id: 1 to 10.
        complete: Whether both splits have the official counts and size, and no image is synthetic.
        synthetic: Whether any of the images was generated.
        shape: (height, width) of the images; (0, 0) without images.
        checked: All samples, Train first, in order of name.
        problems: All faults; empty for a valid dataset.
        warnings: Images that repeat another image of their split. They do not make the dataset invalid.
        ignored: Files that do not belong to the layout, such as Thumbs.db.
    """

    class_id: int
    complete: bool
    synthetic: bool
    shape: tuple[int, int]
    checked: tuple[Checked, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    ignored: tuple[str, ...]

    def counts(self) -> dict[str, SplitCounts]:
        """Return the numbers of images and of defective images of each split."""
        return count(self.checked)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for report.json."""
        return {
            "schema_version": 1,
            "class_id": self.class_id,
            "valid": not self.problems,
            "complete": self.complete,
            "image_shape": list(self.shape),
            "splits": {split: found.model_dump() for split, found in self.counts().items()},
            "official": {
                s: dict(zip(("images", "defective"), OFFICIAL_COUNTS[self.class_id][s], strict=True))
                for s in SPLITS
            },
            "mask_pixels": {c.sample.name: c.mask_pixels for c in self.checked if c.sample.defective},
            "problems": [{"file": p.file, "message": p.message} for p in self.problems],
            "warnings": [{"file": p.file, "message": p.message} for p in self.warnings],
            "ignored": list(self.ignored),
        }


def validate(folder: Path, class_id: int) -> Report:
    """Check a class folder: pairs, sizes, data types, mask values, counts, duplicates.

    Args:
        folder: Folder with Train and Test.
        class_id: 1 to 10.

    Returns:
        The report, with all problems. Synthetic images never count as the official dataset.
    """
    samples: list[Sample] = []
    problems: list[Problem] = []
    for split in SPLITS:
        found, wrong = scan_split(folder, split)
        samples += found
        problems += wrong
    checked = parallel_map(lambda sample: check_sample(sample, folder), samples, "checking")
    problems += [problem for item in checked for problem in item.problems]
    synthetic = any(item.synthetic for item in checked)
    repeated, leaked = _duplicates(checked)
    problems += _shape_problems(checked) + leaked
    problems += count_problems(checked, class_id, official=not synthetic)
    complete = not synthetic and not problems and is_official(count(checked), class_id)
    return Report(
        class_id=class_id,
        complete=complete,
        synthetic=synthetic,
        shape=_common_shape(checked),
        checked=tuple(checked),
        problems=tuple(problems),
        warnings=tuple(repeated),
        ignored=tuple(_ignored(folder)),
    )


def count(checked: Iterable[Checked]) -> dict[str, SplitCounts]:
    """Return the numbers of images and of defective images of each split."""
    flags: dict[str, list[bool]] = {split: [] for split in SPLITS}
    for item in checked:
        flags[item.sample.split].append(item.sample.defective)
    return {split: SplitCounts(images=len(found), defective=sum(found)) for split, found in flags.items()}


def _common_shape(checked: Iterable[Checked]) -> tuple[int, int]:
    shapes = collections.Counter(item.shape for item in checked if item.shape)
    return shapes.most_common(1)[0][0] if shapes else (0, 0)


def _shape_problems(checked: Sequence[Checked]) -> list[Problem]:
    common = _common_shape(checked)
    odd = [item for item in checked if item.shape and item.shape != common]
    problems = [
        Problem(_where(item), f"is {size_text(item.shape or ())}, most are {size_text(common)}")
        for item in odd
    ]
    if common[0] != common[1]:
        problems.append(Problem(_where(checked[0]), f"is {size_text(common)}, expected square images"))
    return problems


def _where(item: Checked) -> str:
    return f"{FOLDERS[item.sample.split]}/{item.sample.image_path.name}"


def _duplicates(checked: Iterable[Checked]) -> tuple[list[Problem], list[Problem]]:
    """Return images with the pixels of an earlier one: of the same split, and of the other split (a leak)."""
    first: dict[str, Checked] = {}
    within: list[Problem] = []
    across: list[Problem] = []
    for item in checked:
        if item.shape is None:
            continue
        other = first.setdefault(item.pixels_sha256, item)
        same = f"has the same pixels as {_where(other)}"
        if other.sample.split != item.sample.split:
            across.append(Problem(_where(item), f"{same} of the other split"))
        elif other is not item:
            within.append(Problem(_where(item), same))
    return within, across


def count_problems(checked: Sequence[Checked], class_id: int, *, official: bool) -> list[Problem]:
    """Return empty splits, and splits of the official size that differ from the official class."""
    problems = []
    for split, folder in FOLDERS.items():
        items = [item for item in checked if item.sample.split == split]
        number = sum(item.sample.defective for item in items)
        images, defective = OFFICIAL_COUNTS[class_id][split]
        messages = {
            "holds no usable image": not items,
            "holds no defective image": items and not number and split == "train",
            "holds no defect-free image": items and number == len(items) and split == "train",
        }
        if official and len(items) == images:
            whole = f"has all {images} images of Class{class_id}, but"
            wrong_size = {item.shape for item in items} != {(OFFICIAL_SIZE, OFFICIAL_SIZE)}
            messages[f"{whole} {number} defective, expected {defective}"] = number != defective
            messages[f"{whole} not all of {OFFICIAL_SIZE}×{OFFICIAL_SIZE} pixels"] = wrong_size
        problems += [Problem(folder, message) for message, applies in messages.items() if applies]
    return problems


def is_official(counts: Mapping[str, SplitCounts], class_id: int) -> bool:
    """Return whether the numbers of images and defective images are the official ones."""
    return all(
        (counts[split].images, counts[split].defective) == OFFICIAL_COUNTS[class_id][split]
        for split in SPLITS
    )


def _ignored(folder: Path) -> list[str]:
    """Return the files of the class folder that are neither a PNG nor a list of labels."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    known = {p for p in files if p.name == "Labels.txt" or (p.suffix.lower() == ".png" and p.name[0] != ".")}
    return [str(path.relative_to(folder)) for path in files if path not in known]
