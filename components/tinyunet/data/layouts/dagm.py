"""The layout of DAGM2007: a folder ClassN for each class, in it Train and Test with Label/Labels.txt.

Layout and counts: M. Wieler, T. Hahn, F. A. Hamprecht, "Weakly Supervised Learning for Industrial Optical
Inspection", 2007, doi:10.5281/zenodo.8086136.
"""

import re
from collections import defaultdict
from contextlib import suppress
from pathlib import PurePosixPath

from tinyunet.core.archives import describe_archives
from tinyunet.core.categories import class_category, class_number
from tinyunet.core.documents.base import parse_json
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import LayoutOptions, Listing, require_category
from tinyunet.data.layouts.dagm_split import FOLDERS, LABELS, SPLITS, ListedSplit, list_split, same_names
from tinyunet.data.sources.trees import Tree

NAME = "dagm"
DEFAULT = "class1"
CLASSES: tuple[int, ...] = tuple(range(1, 11))
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

# `official.labels_digest` of the names and labels of each split, computed from the published Labels.txt.
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

# Files beside Train and Test that name the class: of version 0.1.0, and of `ingest`.
MANIFESTS = {"manifest.json": "class_id", "dataset.json": "category"}
# The name of a folder of a class, and the same name at the end of a location, such as …/Class3.zip/content.
CLASS_FOLDER = re.compile(r"(?i)class[ _-]?0*(\d+)(_def)?")
_LOCATION = re.compile(
    r"(?i)(?:^|[/!])class[ _-]?0*(\d+)(?:_def)?(?:\.(?:zip|tar|tgz|txz|tbz2|tar\.\w+)(?:/.*)?)?/?$"
)


def recognise(tree: Tree) -> bool:
    """Return whether the names are those of DAGM2007; see `Layout.recognise`."""
    archives = (re.fullmatch(r"(?i)class\d+\.zip", PurePosixPath(name).name) for name in tree.names)
    return bool(_find_classes(tree)) or any(archives)


def categories(tree: Tree) -> tuple[str, ...]:
    """Return `class1` to `class10`, those that the names of folders say; see `Layout.categories`."""
    return tuple(name for name in _find_classes(tree) if name)


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples of a class; without a category, of the only class or of class 1.

    See `Layout.list_samples`.
    """
    classes = _find_classes(tree)
    category, notes = _choose(tree, classes, class_category(options.category))
    folder = _only_folder(tree, category, classes.get(category) or classes.get("") or [])
    files = [name for name in tree.names if name.startswith(folder)]
    splits = [list_split(tree, files, folder, split) for split in SPLITS]
    return Listing(
        layout=NAME,
        found=_describe(category, folder, splits),
        category=category,
        samples=tuple(sample for split in splits for sample in split.samples),
        problems=tuple(problem for split in splits for problem in split.problems),
        notes=(*notes, *(note for split in splits for note in split.notes)),
        ignored=tuple(sorted(set(files) - {name for split in splits for name in split.used})),
    )


def require_class(category: str) -> int:
    """Return the number of a class of DAGM2007, 1 to 10.

    Raises:
        UserError: if the category is no class.
    """
    number = class_number(class_category(category))
    if number is None:
        raise UserError(f"category is {category!r}; expected class1 to class10, or 1 to 10, for DAGM2007")
    return number


def class_of(name: str) -> str:
    """Return the category that a folder is named after, such as `class3` for `Class3`; empty for none."""
    match = CLASS_FOLDER.fullmatch(name)
    return f"class{match[1]}" if match and int(match[1]) in CLASSES else ""


def _find_classes(tree: Tree) -> dict[str, list[str]]:
    """Return the folders of every class, with `/` at their end; those without a name of a class under ``.

    A folder of a class holds pictures in Train or Test and is named after a class, or it holds a Labels.txt.
    """
    folders: dict[str, bool] = {}  # folder: whether it holds a Labels.txt
    for name in tree.names:
        parts = name.split("/")
        in_label = len(parts) > 2 and parts[-2].lower() == "label"
        depth = len(parts) - (3 if in_label else 2)
        if depth >= 0 and parts[depth].lower() in SPLITS:
            folder = "".join(f"{part}/" for part in parts[:depth])
            is_list = in_label and parts[-1].lower() == "labels.txt"
            folders[folder] = folders.get(folder, False) or is_list
    classes: dict[str, list[str]] = defaultdict(list)
    for folder, has_labels in folders.items():
        named = [class_of(part) for part in folder.split("/") if class_of(part)]
        category = named[-1] if named else _class_of_location(tree.location)
        category = category or _class_of_manifest(tree, folder)
        if has_labels or category:
            classes[category].append(folder)
    return dict(sorted(classes.items(), key=lambda item: class_number(item[0]) or 0))


def _class_of_location(location: str) -> str:
    match = _LOCATION.search(location)
    return f"class{match[1]}" if match and int(match[1]) in CLASSES else ""


def _class_of_manifest(tree: Tree, folder: str) -> str:
    """Return the class of a folder that `ingest` wrote; empty for other folders."""
    for name, key in MANIFESTS.items():
        if f"{folder}{name}" in tree.names:
            with suppress(ValueError, AttributeError):  # the file of another program
                category = class_category(str(parse_json(tree.read(f"{folder}{name}")).get(key, "")))
                return category if class_number(category) else ""
    return ""


def _choose(tree: Tree, classes: dict[str, list[str]], category: str) -> tuple[str, list[str]]:
    """Return the category to read, and notes about the choice.

    Raises:
        UserError: if it is not there, or if there are several, but not class 1, and none is given.
    """
    named = [name for name in classes if name]
    if category and class_number(category) is None:
        require_class(category)
    if category in named or (category and "" in classes):
        return category, []
    is_class = _class_of_location(tree.location)
    if category and named == [is_class] and all(class_of(f.rstrip("/")) == "" for f in classes[is_class]):
        raise UserError(
            f"{tree.location} is C{is_class[1:]}, but the category is {category}; give {is_class} or another "
            "source"
        )
    if category or not classes:
        _refuse(tree, category or DEFAULT, named)
    if not named:
        return DEFAULT, [f"{tree.location} does not say which class it is; it is read as {DEFAULT}"]
    if len(named) > 1 and DEFAULT in named:
        others = ", ".join(name for name in named if name != DEFAULT)
        return DEFAULT, [
            f"{tree.location} also holds {others}; choose with --category (make run: CATEGORY=…)"
        ]
    return require_category(tree.location, "", named), []


def _refuse(tree: Tree, category: str, named: list[str]) -> None:
    """Raise an error for a category that the source does not hold."""
    title = f"C{category[1:]}"
    for name in tree.names:
        if PurePosixPath(name).name.lower() == f"{category}.zip":
            try:
                tree.read(name)
            except UserError as error:
                raise UserError(f"{tree.location}/{name} {error}") from error
    others = f"; it holds {', '.join(named)}" if named else ""
    raise UserError(
        f"{tree.location} holds neither {title}, {title}.zip nor Train and Test with {LABELS}, in upper or "
        f"lower case{others}; expected DAGM2007" + describe_archives(tree.names)
    )


def _only_folder(tree: Tree, category: str, folders: list[str]) -> str:
    """Return the topmost folder of a class.

    Raises:
        UserError: if there are several.
    """
    depth = min(folder.count("/") for folder in folders)
    topmost = sorted(folder for folder in folders if folder.count("/") == depth)
    if len(topmost) == 1:
        return topmost[0]
    if repeated := same_names(topmost):
        raise UserError(f"{tree.location} holds {' and '.join(repeated)}; keep one of them")
    places = " and in ".join(folder.rstrip("/").rpartition("/")[0] or folder for folder in topmost)
    raise UserError(f"{tree.location} holds C{category[1:]} in {places}; give one of these folders")


def _describe(category: str, folder: str, splits: list[ListedSplit]) -> str:
    counts = (f"{len(s.samples)} images in {FOLDERS[name]}" for name, s in zip(SPLITS, splits, strict=True))
    return f"DAGM2007, {category} in {folder or 'the source itself'}: {', '.join(counts)}"
