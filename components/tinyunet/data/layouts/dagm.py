"""The official DAGM2007 layout of one class: folders, Labels.txt, counts.

Layout and counts: M. Wieler, T. Hahn, F. A. Hamprecht, "Weakly Supervised Learning for Industrial Optical
Inspection", 2007, doi:10.5281/zenodo.8086136.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyunet.core.archives import kind_by_name
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.labels import Row, decode_labels, parse_labels

CLASSES: tuple[int, ...] = tuple(range(1, 11))
SPLITS: tuple[str, ...] = ("train", "test")
FOLDERS: dict[str, str] = {"train": "Train", "test": "Test"}
OTHER_PICTURES = (".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
OFFICIAL_SIZE = 512

# (number of images, number of defective images) of each split.
OFFICIAL_COUNTS: dict[int, dict[str, tuple[int, int]]] = {
    1: {"train": (575, 79), "test": (575, 71)},
    2: {"train": (575, 66), "test": (575, 84)},
    3: {"train": (575, 66), "test": (575, 84)},
    4: {"train": (575, 82), "test": (575, 68)},
    5: {"train": (575, 70), "test": (575, 80)},
    6: {"train": (575, 83), "test": (575, 67)},
    **{n: {"train": (1150, 150), "test": (1150, 150)} for n in range(7, 11)},
}

# `validate.labels_digest` of the names and labels of each split, computed from the published Labels.txt.
OFFICIAL_LABELS: dict[int, dict[str, str]] = {
    1: {"train": "3df1d9b4c01176ac", "test": "cfd22285d71b915f"},
    2: {"train": "444bd30c6ed89c52", "test": "09fd70056864d8f6"},
    3: {"train": "25e6d538a02e0ad3", "test": "ada91ea53681cfca"},
    4: {"train": "e5874b7b4e565cce", "test": "fd1ee44d2b3bce84"},
    5: {"train": "0bc69b09596cd3ef", "test": "06c5d0130d081165"},
    6: {"train": "32ae3cf0d48452b3", "test": "b02979138a9a2a12"},
    7: {"train": "cb5dba80c5f8cfda", "test": "7184f5f1ee3aa713"},
    8: {"train": "0e1e1f2b639b2f17", "test": "e26a83cefb412f83"},
    9: {"train": "151bfcf40c927934", "test": "e2751f7ce7a983d0"},
    10: {"train": "a3402b33b72b2956", "test": "acdb4768042be653"},
}


@dataclass(frozen=True)
class Sample:
    """One image of a class.

    Attributes:
        split: `train` or `test`.
        name: File name without extension, such as `0576`.
        image_path: 8-bit grey PNG.
        mask_path: PNG of the label (0 and 255); None where the image is defect-free.
        defective: Whether the image shows a defect.
    """

    split: str
    name: str
    image_path: Path
    mask_path: Path | None
    defective: bool


@dataclass(frozen=True)
class Problem:
    """A fault of a file; `file` is its path inside the class folder."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def format_labels(samples: Iterable[Sample]) -> str:
    """Return the text of Labels.txt in the official form: header `1`, CRLF, a tab after defect-free rows."""
    lines = ["1"]
    for sample in samples:
        mask = sample.mask_path.name if sample.mask_path else "0\t"
        lines.append(f"{sample.name}\t{sample.defective:d}\t{sample.image_path.name}\t0\t{mask}")
    return "".join(line + "\r\n" for line in lines)


def require_class(location: str, class_id: int) -> None:
    """Raise an error for a folder, an archive or a URL that is named after another class.

    Args:
        location: Path or URL, such as `…/ClassM`, `…/ClassM.zip` or `https://…/ClassM.zip/content`.
        class_id: DAGM2007 class, 1 to 10.

    Raises:
        UserError: if the name is that of another class.
    """
    match = re.search(r"(?i)(?:^|[/!])Class(\d+)(?:\.zip(?:/.*)?)?$", location)
    if match and int(match[1]) in CLASSES and int(match[1]) != class_id:
        raise UserError(
            f"{location} is Class{match[1]}, but class_id is {class_id}; give class_id={int(match[1])} or "
            "another source"
        )


def scan_split(folder: Path, split: str) -> tuple[list[Sample], list[Problem]]:
    """Compare the files of one split with its Labels.txt.

    Args:
        folder: The class folder.
        split: `train` or `test`.

    Returns:
        The samples without faults, sorted by name, and all faults.
    """
    base = folder / FOLDERS[split]
    labels_file = f"{base.name}/Label/Labels.txt"
    images, masks = _find_png_files(base), _find_png_files(base / "Label")
    try:
        text = decode_labels((base / "Label" / "Labels.txt").read_bytes())
    except FileNotFoundError:
        missing = Problem(labels_file, "is missing; every split needs its list of labels")
        return [], [*_find_archives(base), missing]
    except UnicodeError:
        message = "is not text in UTF-8 or UTF-16; expected tab-separated rows, save it as UTF-8"
        return [], [Problem(labels_file, message)]
    rows, errors = parse_labels(text)
    problems = [Problem(labels_file, f"line {line} is {message}") for line, message in errors]
    samples = {}
    for row in rows:
        stem = Path(row.image).stem
        row_problems = _check_row(row, base, images, masks, repeated=stem in samples)
        problems += row_problems
        if not row_problems:
            mask = masks[row.mask.lower()] if row.mask else None
            samples[stem] = Sample(split, stem, images[row.image.lower()], mask, row.defective)
    problems += _find_unlisted_files(rows, base, images, masks)
    if problems:
        problems = [*_find_archives(base), *problems]
    return sorted(samples.values(), key=lambda sample: sample.name), problems


def read_class(folder: Path) -> list[Sample]:
    """Return the samples of a class folder: Train, then Test, each sorted by name.

    Raises:
        UserError: if files and Labels.txt do not match.
    """
    samples: list[Sample] = []
    for split in SPLITS:
        if (folder / FOLDERS[split]).is_dir():
            split_samples, problems = scan_split(folder, split)
            if problems:
                raise UserError(summarize(str(folder), problems))
            samples += split_samples
    return samples


def summarize(location: str, problems: Sequence[Problem]) -> str:
    """Return one line with the number of problems and the first three of them."""
    shown = "; ".join(str(problem) for problem in problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{location} has {count}: {shown}{more}; correct the files, then ingest again"


def _find_png_files(folder: Path) -> dict[str, Path]:
    """Return the PNG files of a folder except hidden ones; the keys are the names in lower case."""
    if not folder.is_dir():
        return {}
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".png" and path.is_file())
    return {path.name.lower(): path for path in files if not path.name.startswith(".")}


def _check_row(
    row: Row, base: Path, images: dict[str, Path], masks: dict[str, Path], *, repeated: bool
) -> list[Problem]:
    name, position = f"{base.name}/{row.image}", f"in line {row.line} of Labels.txt"
    problems = []
    if repeated:
        problems.append(Problem(name, f"is listed a second time {position}"))
    if row.image.lower() not in images:
        problems.append(_missing(base, row.image, position))
    if row.defective and row.mask is None:
        problems.append(Problem(name, f"is listed as defective without a mask {position}"))
    if not row.defective and row.mask is not None:
        problems.append(Problem(name, f"is listed as defect-free with the mask {row.mask} {position}"))
    if row.mask is not None and row.mask.lower() not in masks:
        problems.append(_missing(base, f"Label/{row.mask}", position))
    if row.mask is not None and Path(row.mask).stem.lower() != f"{Path(row.image).stem}_label".lower():
        expected = f"{Path(row.image).stem}_label.PNG"
        problems.append(Problem(name, f"is listed with the mask {row.mask} {position}, expected {expected}"))
    return problems


def _missing(base: Path, name: str, position: str) -> Problem:
    """Describe a listed file that is not among the PNG files: missing, or a picture of another format."""
    listed = base / name
    for path in sorted(listed.parent.glob("*")):
        suffix = path.suffix.lower()
        if path.stem.lower() == listed.stem.lower() and suffix in OTHER_PICTURES:
            message = f"is a {suffix} file, listed {position}; expected a PNG, 8-bit grey: convert it"
            return Problem(path.relative_to(base.parent).as_posix(), message)
    return Problem(f"{base.name}/{name}", f"is missing, but listed {position}")


def _find_archives(base: Path) -> list[Problem]:
    """Return one problem for each archive in a split, because the files inside it are not read."""
    files = sorted(path for folder in (base, base / "Label") if folder.is_dir() for path in folder.iterdir())
    kinds = {path: "zip" if path.suffix.lower() == ".zip" else kind_by_name(path.name) for path in files}
    return [
        Problem(path.relative_to(base.parent).as_posix(), f"is a {kind} archive; unpack it")
        for path, kind in kinds.items()
        if kind
    ]


def _find_unlisted_files(
    rows: Sequence[Row], base: Path, images: dict[str, Path], masks: dict[str, Path]
) -> list[Problem]:
    listed_images = {row.image.lower() for row in rows}
    listed_masks = {row.mask.lower() for row in rows if row.mask}
    problems = [
        Problem(f"{base.name}/{path.name}", "has no row in Labels.txt")
        for name, path in images.items()
        if name not in listed_images
    ]
    defect_free = {f"{Path(row.image).stem}_label.png".lower() for row in rows if not row.defective}
    for name, path in masks.items():
        if name not in listed_masks:
            message = (
                "is the mask of an image listed as defect-free"
                if name in defect_free
                else "has no row in Labels.txt"
            )
            problems.append(Problem(f"{base.name}/Label/{path.name}", message))
    return problems
