"""Checks of a class of DAGM2007: whether it is the official class, and what only this layout demands."""

import collections
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tinyunet.core.categories import class_number
from tinyunet.data.ingestion.prepare import PreparedSample
from tinyunet.data.ingestion.validate import Report
from tinyunet.data.layouts.base import Problem
from tinyunet.data.layouts.dagm import OFFICIAL_COUNTS, OFFICIAL_LABELS, OFFICIAL_SIZE
from tinyunet.data.pictures.pixels import size_text

DAGM_SPLITS = ("train", "test")


def check_dagm(report: Report) -> Report:
    """Return the report of a class of DAGM2007 with the checks that only this layout has.

    Its images must be square, of one size and in both splits; a split with the official names and labels must
    have the official size. A class with synthetic images is never complete.
    """
    number = class_number(report.listing.category) or 1
    samples = report.samples
    problems = [
        *report.problems,
        *_check_shapes(samples),
        *_check_dagm_counts(samples, number, report.synthetic),
    ]
    official = not report.synthetic and not problems and is_official(samples, number)
    notes = [] if report.synthetic else [str(note) for note in note_counts(samples, number)]
    return replace(report, problems=tuple(problems), complete=official, notes=(*report.notes, *notes))


def _check_shapes(samples: Sequence[PreparedSample]) -> list[Problem]:
    shapes = collections.Counter(item.shape for item in samples if item.shape)
    if not shapes:
        return []
    common = shapes.most_common(1)[0][0]
    problems = [
        Problem(
            item.sample.image.name, f"is {size_text(item.shape)}, but most images are {size_text(common)}"
        )
        for item in samples
        if item.shape and item.shape != common
    ]
    if common[0] != common[1]:
        first = samples[0].sample.image.name
        problems.append(Problem(first, f"is {size_text(common)}, expected square images"))
    return problems


def _check_dagm_counts(samples: Sequence[PreparedSample], number: int, synthetic: bool) -> list[Problem]:
    """Return the problems of splits without images of a kind, and of official splits in another size."""
    problems = []
    for split in DAGM_SPLITS:
        items = [item for item in samples if item.sample.split == split]
        defective = sum(item.defective for item in items)
        messages = {
            "holds no usable image": not items,
            "holds no defective image": items and not defective and split == "train",
            "holds no defect-free image": items and defective == len(items) and split == "train",
        }
        if not synthetic and has_official_labels(items, number, split):
            size_message = f"has all {len(items)} images of Class{number}, but not all have "
            size_message += f"{OFFICIAL_SIZE}×{OFFICIAL_SIZE} pixels"
            messages[size_message] = {item.shape for item in items} != {(OFFICIAL_SIZE, OFFICIAL_SIZE)}
        problems += [Problem(split.capitalize(), message) for message, applies in messages.items() if applies]
    return problems


def note_counts(samples: Sequence[PreparedSample], number: int) -> list[Problem]:
    """Return a note for every split with the number of images, but not the labels, of the official one."""
    notes = []
    for split in DAGM_SPLITS:
        items = [item for item in samples if item.sample.split == split]
        images, defective = OFFICIAL_COUNTS[number][split]
        if len(items) == images and not has_official_labels(items, number, split):
            found = sum(item.defective for item in items)
            message = (
                f"has {images} images, as many as the official Class{number}, but its names and labels are "
                f"others ({found} defective, official {defective}); it is not treated as official"
            )
            notes.append(Problem(split.capitalize(), message))
    return notes


def is_official(samples: Iterable[PreparedSample], number: int) -> bool:
    """Return whether the names and labels of both splits are the official ones."""
    items = list(samples)
    return all(has_official_labels(items, number, split) for split in DAGM_SPLITS)


def labels_digest(samples: Iterable[PreparedSample]) -> str:
    """Return the first 16 digits of the SHA-256 over the sorted lines `name 0` or `name 1` of a split."""
    lines = sorted(f"{item.sample.name} {item.defective:d}\n" for item in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def has_official_labels(samples: Iterable[PreparedSample], number: int, split: str) -> bool:
    """Return whether the names and labels of all samples of a split are those of the official split."""
    of_split = [item for item in samples if item.sample.split == split]
    return labels_digest(of_split) == OFFICIAL_LABELS[number][split]
