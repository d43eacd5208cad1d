"""Validation of one class before its conversion: every file is decoded, every problem is reported."""

import collections
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyunet.core.console import parallel_map
from tinyunet.core.documents.raw import SplitCounts
from tinyunet.data.layouts.dagm import (
    FOLDERS,
    OFFICIAL_COUNTS,
    OFFICIAL_LABELS,
    OFFICIAL_SIZE,
    SPLITS,
    Problem,
    Sample,
    scan_split,
)
from tinyunet.data.pictures.pixels import CheckedSample, check_sample, size_text


@dataclass(frozen=True)
class Report:
    """The result of a validation.

    Attributes:
        class_id: 1 to 10.
        complete: Whether both splits have the official names, labels and size, and no image is synthetic.
        synthetic: Whether any of the images was generated.
        shape: (height, width) of the images; (0, 0) without images.
        checked: All samples, Train first, in order of name.
        problems: All faults; empty for a valid dataset.
        warnings: Images that repeat another image of their split. They do not make the dataset invalid.
        notes: Splits that only have the size of an official one, and files that could not be read and are not
            listed. They do not make the dataset invalid.
        ignored: Files that do not belong to the layout, such as Thumbs.db.
    """

    class_id: int
    complete: bool
    synthetic: bool
    shape: tuple[int, int]
    checked: tuple[CheckedSample, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    ignored: tuple[str, ...]

    def counts(self) -> dict[str, SplitCounts]:
        """Return the numbers of images and of defective images of each split."""
        return count_images(self.checked)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for report.json."""
        return {
            "schema_version": 1,
            "class_id": self.class_id,
            "valid": not self.problems,
            "complete": self.complete,
            "image_shape": list(self.shape),
            "splits": {split: counts.model_dump() for split, counts in self.counts().items()},
            "official": {
                split: dict(zip(("images", "defective"), OFFICIAL_COUNTS[self.class_id][split], strict=True))
                for split in SPLITS
            },
            "mask_pixels": {
                item.sample.name: item.mask_pixels for item in self.checked if item.sample.defective
            },
            "problems": [{"file": p.file, "message": p.message} for p in self.problems],
            "warnings": [{"file": p.file, "message": p.message} for p in (*self.warnings, *self.notes)],
            "ignored": list(self.ignored),
        }


def validate(folder: Path, class_id: int, left_out: Sequence[Problem] = ()) -> Report:
    """Check a class folder: pairs, sizes, data types, mask values, counts, duplicates.

    Args:
        folder: Folder with Train and Test.
        class_id: 1 to 10.
        left_out: Files of the source that could not be read and are not in the folder.

    Returns:
        The report, with all problems. A dataset with synthetic images is never complete.
    """
    samples: list[Sample] = []
    problems: list[Problem] = []
    for split in SPLITS:
        split_samples, split_problems = scan_split(folder, split)
        samples += split_samples
        problems += split_problems
    reasons = {problem.file.lower(): problem for problem in left_out}
    problems = [reasons.pop(problem.file.lower(), problem) for problem in problems]
    notes = [Problem(problem.file, f"{problem.message}; it is left out") for problem in reasons.values()]
    checked = parallel_map(lambda sample: check_sample(sample, folder), samples, "checking")
    problems += [problem for item in checked for problem in item.problems]
    synthetic = any(item.synthetic for item in checked)
    repeated, leaked = _find_duplicates(checked)
    problems += _check_shapes(checked) + leaked
    problems += check_counts(checked, class_id, official=not synthetic)
    complete = not synthetic and not problems and is_official(checked, class_id)
    return Report(
        class_id=class_id,
        complete=complete,
        synthetic=synthetic,
        shape=_common_shape(checked),
        checked=tuple(checked),
        problems=tuple(problems),
        warnings=tuple(repeated),
        notes=(*notes, *([] if synthetic else note_counts(checked, class_id))),
        ignored=tuple(_find_ignored(folder)),
    )


def count_images(checked: Iterable[CheckedSample]) -> dict[str, SplitCounts]:
    """Return the numbers of images and of defective images of each split."""
    flags: dict[str, list[bool]] = {split: [] for split in SPLITS}
    for item in checked:
        flags[item.sample.split].append(item.sample.defective)
    return {split: SplitCounts(images=len(values), defective=sum(values)) for split, values in flags.items()}


def _common_shape(checked: Iterable[CheckedSample]) -> tuple[int, int]:
    shapes = collections.Counter(item.shape for item in checked if item.shape)
    return shapes.most_common(1)[0][0] if shapes else (0, 0)


def _check_shapes(checked: Sequence[CheckedSample]) -> list[Problem]:
    common = _common_shape(checked)
    problems = [
        Problem(_image_file(item), f"is {size_text(item.shape)}, but most images are {size_text(common)}")
        for item in checked
        if item.shape and item.shape != common
    ]
    if common[0] != common[1]:
        problems.append(Problem(_image_file(checked[0]), f"is {size_text(common)}, expected square images"))
    return problems


def _image_file(item: CheckedSample) -> str:
    return f"{FOLDERS[item.sample.split]}/{item.sample.image_path.name}"


def _find_duplicates(checked: Iterable[CheckedSample]) -> tuple[list[Problem], list[Problem]]:
    """Find images with the same pixels as an earlier image.

    Returns:
        The images whose earlier copy is in the same split, and those whose copy is in the other split (a
        leak).
    """
    first_with_pixels: dict[str, CheckedSample] = {}
    within_split: list[Problem] = []
    across_splits: list[Problem] = []
    for item in checked:
        if item.shape is None:
            continue
        earlier = first_with_pixels.setdefault(item.pixels_sha256, item)
        message = f"has the same pixels as {_image_file(earlier)}"
        if earlier.sample.split != item.sample.split:
            across_splits.append(Problem(_image_file(item), f"{message} of the other split"))
        elif earlier is not item:
            within_split.append(Problem(_image_file(item), message))
    return within_split, across_splits


def check_counts(checked: Sequence[CheckedSample], class_id: int, *, official: bool) -> list[Problem]:
    """Return the problems of splits without images of a kind, and of official splits in another size.

    Args:
        checked: All samples.
        class_id: 1 to 10.
        official: Whether a split with the official names and labels must have the official size.
    """
    problems = []
    for split, folder in FOLDERS.items():
        items = [item for item in checked if item.sample.split == split]
        defective = sum(item.sample.defective for item in items)
        messages = {
            "holds no usable image": not items,
            "holds no defective image": items and not defective and split == "train",
            "holds no defect-free image": items and defective == len(items) and split == "train",
        }
        if official and has_official_labels([item.sample for item in items], class_id, split):
            size_message = f"has all {len(items)} images of Class{class_id}, but not all have "
            size_message += f"{OFFICIAL_SIZE}×{OFFICIAL_SIZE} pixels"
            messages[size_message] = {item.shape for item in items} != {(OFFICIAL_SIZE, OFFICIAL_SIZE)}
        problems += [Problem(folder, message) for message, applies in messages.items() if applies]
    return problems


def note_counts(checked: Sequence[CheckedSample], class_id: int) -> list[Problem]:
    """Return a note for every split with the number of images, but not the labels, of the official one."""
    notes = []
    for split, folder in FOLDERS.items():
        samples = [item.sample for item in checked if item.sample.split == split]
        images, defective = OFFICIAL_COUNTS[class_id][split]
        if len(samples) == images and not has_official_labels(samples, class_id, split):
            message = (
                f"has {images} images, as many as the official Class{class_id}, but its names and labels are "
                f"others ({sum(s.defective for s in samples)} defective, official {defective}); it is not "
                "treated as official"
            )
            notes.append(Problem(folder, message))
    return notes


def is_official(checked: Iterable[CheckedSample], class_id: int) -> bool:
    """Return whether the names and labels of both splits are the official ones."""
    samples = [item.sample for item in checked]
    return all(has_official_labels(samples, class_id, split) for split in SPLITS)


def labels_digest(samples: Iterable[Sample]) -> str:
    """Return the first 16 digits of the SHA-256 over the sorted lines `name 0` or `name 1` of a split."""
    lines = sorted(f"{sample.name} {sample.defective:d}\n" for sample in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def has_official_labels(samples: Iterable[Sample], class_id: int, split: str) -> bool:
    """Return whether the names and labels of all samples of a split are those of the official split."""
    of_split = [sample for sample in samples if sample.split == split]
    return labels_digest(of_split) == OFFICIAL_LABELS[class_id][split]


def _find_ignored(folder: Path) -> list[str]:
    """Return the files of the class folder that are neither a visible PNG nor a Labels.txt."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if not _is_data(path)]


def _is_data(path: Path) -> bool:
    is_png = path.suffix.lower() == ".png" and not path.name.startswith(".")
    return is_png or path.name == "Labels.txt"
