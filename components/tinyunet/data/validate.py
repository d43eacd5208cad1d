"""Validation of one class before anything is converted: every file is opened, every problem is collected."""

import collections
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyunet.data.dagm import FOLDERS, OFFICIAL_COUNTS, OFFICIAL_SIZE, SPLITS, Problem, Sample, scan_split
from tinyunet.data.pixels import Checked, check_sample, size_text
from tinyunet.data.progress import parallel


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
    checked = parallel(lambda sample: check_sample(sample, folder), samples, "checking")
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
