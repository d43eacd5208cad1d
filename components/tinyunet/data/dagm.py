"""The official DAGM2007 layout of one class: folders, Labels.txt, counts.

Layout and counts: M. Wieler, T. Hahn, F. A. Hamprecht, "Weakly Supervised Learning for Industrial Optical
Inspection", 2007, doi:10.5281/zenodo.8086136.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyunet.core.errors import UserError

CLASSES: tuple[int, ...] = tuple(range(1, 11))
SPLITS: tuple[str, ...] = ("train", "test")
FOLDERS: dict[str, str] = {"train": "Train", "test": "Test"}
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
class Row:
    """One row of Labels.txt.

    Attributes:
        line: Number of the line, counted from 1.
        defective: Whether the image shows a defect.
        image: File name of the image.
        mask: File name of the mask; None where the image is defect-free.
    """

    line: int
    defective: bool
    image: str
    mask: str | None


@dataclass(frozen=True)
class Problem:
    """A fault of a file; `file` is its path inside the class folder."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def parse_labels(text: str) -> tuple[list[Row], list[tuple[int, str]]]:
    """Parse Labels.txt; a byte order mark, CRLF, blank lines, a header line and trailing tabs are accepted.

    Args:
        text: Tab-separated rows `number, 0|1, image, 0, mask|0`. A first line with one field is a header.

    Returns:
        The rows, and the number and the fault of every malformed line.
    """
    rows: list[Row] = []
    errors: list[tuple[int, str]] = []
    for line, content in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        fields = content.strip().split("\t")
        if not content.strip() or (line == 1 and len(fields) == 1):
            continue
        if len(fields) != 5 or fields[1] not in ("0", "1"):
            expected = "expected five fields separated by tabs: number, 0 or 1, image, 0, mask or 0"
            errors.append((line, f"{content.strip()!r}, {expected}"))
            continue
        rows.append(Row(line, fields[1] == "1", fields[2], None if fields[4] == "0" else fields[4]))
    return rows, errors


def format_labels(samples: Iterable[Sample]) -> str:
    """Return Labels.txt as in the official archives: header `1`, trailing tab on defect-free rows, CRLF."""
    lines = ["1"]
    for sample in samples:
        mask = sample.mask_path.name if sample.mask_path else "0\t"
        lines.append(f"{sample.name}\t{sample.defective:d}\t{sample.image_path.name}\t0\t{mask}")
    return "".join(line + "\r\n" for line in lines)


def require_class(location: str, class_id: int) -> None:
    """Raise an error for a folder, an archive or a URL that is named after another class.

    Args:
        location: Such as `…/ClassM`, `…/ClassM.zip` or `https://…/ClassM.zip/content`.
        class_id: 1 to 10.

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
        The samples without faults in order of name, and every fault.
    """
    base = folder / FOLDERS[split]
    labels_file = f"{base.name}/Label/Labels.txt"
    images, masks = _find_png_files(base), _find_png_files(base / "Label")
    try:
        text = (base / "Label" / "Labels.txt").read_text("utf-8")
    except FileNotFoundError:
        return [], [Problem(labels_file, "is missing; every split needs its list of labels")]
    except UnicodeDecodeError:
        return [], [Problem(labels_file, "is not text; expected tab-separated rows")]
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
    return sorted(samples.values(), key=lambda sample: sample.name), problems


def read_class(folder: Path) -> list[Sample]:
    """Return the samples of a class folder, Train first, in order of name.

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
    """Return the PNG files of a folder by lower-case name, without hidden files."""
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
        problems.append(Problem(name, f"is missing, but listed {position}"))
    if row.defective and row.mask is None:
        problems.append(Problem(name, f"is listed as defective without a mask {position}"))
    if not row.defective and row.mask is not None:
        problems.append(Problem(name, f"is listed as defect-free with the mask {row.mask} {position}"))
    if row.mask is not None and row.mask.lower() not in masks:
        problems.append(Problem(f"{base.name}/Label/{row.mask}", f"is missing, but listed {position}"))
    if row.mask is not None and row.mask.lower() != f"{Path(row.image).stem}_label.png".lower():
        expected = f"{Path(row.image).stem}_label.PNG"
        problems.append(Problem(name, f"is listed with the mask {row.mask} {position}, expected {expected}"))
    return problems


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
