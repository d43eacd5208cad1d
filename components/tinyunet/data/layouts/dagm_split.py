"""One split of a class of DAGM2007: its pictures, compared with its Labels.txt."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tinyunet.core.archives import kind_by_name
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import Problem, SourceSample
from tinyunet.data.layouts.labels import Row, decode_labels, parse_labels, parse_list
from tinyunet.data.layouts.matching import source_file
from tinyunet.data.layouts.names import sample_name
from tinyunet.data.pictures.suffixes import SUFFIXES
from tinyunet.data.sources.trees import Tree

SPLITS: tuple[str, ...] = ("train", "test")
FOLDERS: dict[str, str] = {"train": "Train", "test": "Test"}
LABELS = "Label/Labels.txt"


@dataclass(frozen=True)
class ListedSplit:
    """The samples of a split, and what is wrong with its files.

    Attributes:
        samples: The samples without faults, sorted by name.
        problems: All faults.
        notes: Files that cannot be read and are not listed.
        used: Names of the files that belong to the layout.
    """

    samples: tuple[SourceSample, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Files:
    """The files of a split.

    Attributes:
        folder: Folder of the split, as its name is spelled, with `/` at its end.
        labels: Labels.txt or a list as CSV; empty if it is missing.
        images: Names of the PNG files by their file name in lower case.
        masks: Names of the PNG files in Label by their file name in lower case.
        names: Names of all files of the two folders.
    """

    folder: str
    labels: str = ""
    images: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def list_split(tree: Tree, names: Iterable[str], folder: str, split: str) -> ListedSplit:
    """Compare the files of one split with its Labels.txt.

    Args:
        tree: The source.
        names: Names of the files of the class.
        folder: Folder of the class, with `/` at its end.
        split: `train` or `test`.

    Raises:
        UserError: if two files or folders have the same name except for upper and lower case.
    """
    files = _find_files(tree.location, names, folder, split)
    used = frozenset([files.labels, *files.images.values(), *files.masks.values()])
    if not files.labels:
        missing = Problem(f"{files.folder}{LABELS}", "is missing; every split needs its list of labels")
        return ListedSplit(problems=(*_find_archives(files), missing), used=used)
    try:
        text = decode_labels(tree.read(files.labels))
    except UnicodeError:
        message = "is not text in UTF-8 or UTF-16; expected tab-separated rows, save it as UTF-8"
        return ListedSplit(problems=(Problem(files.labels, message),), used=used)
    except (UserError, OSError) as error:
        return ListedSplit(problems=(Problem(files.labels, str(error)),), used=used)
    rows, errors = (parse_list if files.labels.lower().endswith(".csv") else parse_labels)(text)
    problems = [Problem(files.labels, f"line {line} is {message}") for line, message in errors]
    samples, row_problems = _match_rows(tree, files, rows, split)
    unlisted, notes = _find_unlisted_files(tree, files, rows)
    problems += row_problems + unlisted
    if problems:
        problems = [*_find_archives(files), *problems]
    return ListedSplit(samples, tuple(problems), tuple(notes), used)


def same_names(names: Iterable[str]) -> list[str]:
    """Return the first of the names that are equal except for upper and lower case; empty if none are."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for name in names:
        spellings[name.lower()].add(name)
    return next((sorted(found) for found in spellings.values() if len(found) > 1), [])


def _find_files(location: str, names: Iterable[str], folder: str, split: str) -> _Files:
    paths = [PurePosixPath(name.removeprefix(folder)) for name in names]
    of_split = [path for path in paths if len(path.parts) > 1 and path.parts[0].lower() == split]
    labels = [path for path in of_split if len(path.parts) > 2 and path.parts[1].lower() == "label"]
    for parts in (
        {path.parts[0] for path in of_split},
        {path.parts[1] for path in labels},
        {str(path) for path in of_split},
    ):
        if repeated := same_names(parts):
            raise UserError(f"{location} holds {' and '.join(repeated)} in {folder}; keep one of them")
    root = f"{folder}{of_split[0].parts[0]}/" if of_split else f"{folder}{FOLDERS[split]}/"
    lists = [path for path in labels if path.name.lower() == "labels.txt"]
    lists += [path for path in paths if str(path).lower() == f"{split}_list.csv"]
    shown = [path for path in of_split if len(path.parts) == 2 or (path in labels and len(path.parts) == 3)]
    return _Files(
        folder=root,
        labels=f"{folder}{lists[0]}" if lists else "",
        images=_pictures(folder, (path for path in shown if len(path.parts) == 2)),
        masks=_pictures(folder, (path for path in shown if len(path.parts) == 3)),
        names=tuple(f"{folder}{path}" for path in shown),
    )


def _pictures(folder: str, paths: Iterable[PurePosixPath]) -> dict[str, str]:
    return {path.name.lower(): f"{folder}{path}" for path in paths if path.suffix.lower() == ".png"}


def _match_rows(
    tree: Tree, files: _Files, rows: Sequence[Row], split: str
) -> tuple[tuple[SourceSample, ...], list[Problem]]:
    problems: list[Problem] = []
    samples: dict[str, SourceSample] = {}
    for row in rows:
        name = sample_name([PurePosixPath(row.image).stem])
        row_problems = _check_row(row, files, repeated=name in samples)
        problems += row_problems
        if not row_problems:
            samples[name] = SourceSample(
                name=name,
                image=source_file(tree, files.images[row.image.lower()]),
                mask=source_file(tree, files.masks[row.mask.lower()]) if row.mask else None,
                split=split,
                defective=row.defective,
            )
    return tuple(sorted(samples.values(), key=lambda sample: sample.name)), problems


def _check_row(row: Row, files: _Files, *, repeated: bool) -> list[Problem]:
    name, position = f"{files.folder}{row.image}", f"in line {row.line} of {PurePosixPath(files.labels).name}"
    problems = []
    if repeated:
        problems.append(Problem(name, f"is listed a second time {position}"))
    if row.image.lower() not in files.images:
        problems.append(_missing(files, row.image, position))
    if row.defective and row.mask is None:
        problems.append(Problem(name, f"is listed as defective without a mask {position}"))
    if not row.defective and row.mask is not None:
        problems.append(Problem(name, f"is listed as defect-free with the mask {row.mask} {position}"))
    if row.mask is not None and row.mask.lower() not in files.masks:
        problems.append(_missing(files, f"Label/{row.mask}", position))
    stem = PurePosixPath(row.image).stem
    if row.mask is not None and PurePosixPath(row.mask).stem.lower() != f"{stem}_label".lower():
        message = f"is listed with the mask {row.mask} {position}, expected {stem}_label.PNG"
        problems.append(Problem(name, message))
    return problems


def _missing(files: _Files, name: str, position: str) -> Problem:
    """Describe a listed file that is not among the PNG files: missing, or a picture of another format."""
    listed = f"{files.folder}{name}"
    for other in files.names:
        suffix = PurePosixPath(other).suffix.lower()
        same = (
            str(PurePosixPath(other).with_suffix("")).lower()
            == str(PurePosixPath(listed).with_suffix("")).lower()
        )
        if same and suffix in SUFFIXES:
            return Problem(
                other, f"is a {suffix} file, listed {position}; expected a PNG, 8-bit grey: convert it"
            )
    return Problem(listed, f"is missing, but listed {position}")


def _find_archives(files: _Files) -> list[Problem]:
    """Return one problem for each archive in a split, because the files inside it are not read."""
    kinds = {
        name: "zip" if name.lower().endswith(".zip") else kind_by_name(PurePosixPath(name).name)
        for name in files.names
    }
    return [Problem(name, f"is a {kind} archive; unpack it") for name, kind in kinds.items() if kind]


def _find_unlisted_files(tree: Tree, files: _Files, rows: Sequence[Row]) -> tuple[list[Problem], list[str]]:
    """Return the problems of PNG files that no row lists; those that cannot be read are only notes."""
    listed_images = {row.image.lower() for row in rows}
    listed_masks = {row.mask.lower() for row in rows if row.mask}
    clean_masks = {f"{PurePosixPath(row.image).stem}_label.png".lower() for row in rows if not row.defective}
    unlisted = [name for key, name in files.images.items() if key not in listed_images]
    masks = [name for key, name in files.masks.items() if key not in listed_masks]
    problems: list[Problem] = []
    notes: list[str] = []
    for name in [*unlisted, *masks]:
        try:
            tree.read(name)
        except (UserError, OSError) as error:
            notes.append(f"{name}: {error}; it is left out")
            continue
        of_clean = name in masks and PurePosixPath(name).name.lower() in clean_masks
        message = "is the mask of an image listed as defect-free" if of_clean else "has no row in Labels.txt"
        problems.append(Problem(name, message))
    return problems, notes
