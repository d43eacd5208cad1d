"""Layout `yolo`: text files of polygons, one for each image, as YOLO reads them for segmentation.

Format: https://docs.ultralytics.com/datasets/segment. A line is the number of a label, and x and y of every
corner as fractions of width and height. A line of four fractions is a box.
"""

import re
from collections import defaultdict
from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.items import (
    AnnotatedImage,
    Format,
    clean_images,
    find_image,
    make_listing,
    split_of_folders,
)
from tinyunet.data.layouts.annotated.shapes import Shape, is_background
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem
from tinyunet.data.layouts.names import is_picture, stem_of
from tinyunet.data.sources.trees import Tree

NAME = "yolo"
_FILES_TO_RECOGNISE = 50
_CLASSES = ("classes.txt", "obj.names", "classes.names")
_BOX = 5  # fields of a line
_EXPECTED = "expected the number of a label, and x and y of at least three corners from 0 to 1"


def recognise(tree: Tree) -> bool:
    """Return whether one of the first text files with the name of an image has a polygon."""
    return any(_first_lines(tree, polygons=True))


def has_boxes(tree: Tree) -> bool:
    """Return whether one of the first text files with the name of an image has a box."""
    return any(_first_lines(tree, polygons=False))


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; an image whose text file is empty or missing is clean.

    Raises:
        UserError: if no image has a text file.
    """
    files = _text_files(tree)
    if not files:
        raise UserError(
            f"{tree.location} has no text file of YOLO with the name of an image; expected "
            "labels/train/a.txt for images/train/a.jpg"
        )
    labels, items, problems = _labels(tree), list[AnnotatedImage](), list[Problem]()
    for file in files:
        try:
            items.append(_read(tree, file, labels))
        except (UserError, OSError) as error:
            problems.append(Problem(file, str(error)))
    by_stem = defaultdict[str, list[str]](list)
    for name in filter(is_picture, tree.names):
        by_stem[stem_of(name).lower()].append(name)
    faulty = [AnnotatedImage(_image_path(problem.file)) for problem in problems]
    taken = set[str]()
    for item in (*items, *faulty):
        candidates = by_stem[stem_of(item.path).lower()]
        image = find_image(item, candidates)
        taken.update([image] if image else candidates)
    clean, notes = clean_images([name for name in tree.names if is_picture(name) and name not in taken])
    form = Format(NAME, "YOLO", files, complete=False, problems=tuple(problems), notes=notes)
    return make_listing(tree, options, form, [*items, *clean])


def _text_files(tree: Tree) -> list[str]:
    """Return the text files with the name of an image."""
    stems = {stem_of(name).lower() for name in tree.names if is_picture(name)}
    return [name for name in tree.names if name.lower().endswith(".txt") and stem_of(name).lower() in stems]


def _first_lines(tree: Tree, *, polygons: bool) -> list[str]:
    """Return the lines with polygons, or with boxes, of the first text files."""
    found = []
    for name in _text_files(tree)[:_FILES_TO_RECOGNISE]:
        try:
            lines = tree.read(name).decode("utf-8", "replace").splitlines()
        except (OSError, UserError):
            continue
        for line in lines:
            fields = _numbers(line)
            right = len(fields) > _BOX and len(fields) % 2 == 1 if polygons else len(fields) == _BOX
            found += [line] if right else []
    return found


def _numbers(line: str) -> list[float]:
    """Return the numbers of a line; empty if it has anything else."""
    try:
        return [float(field) for field in line.split()]
    except ValueError:
        return []


def _read(tree: Tree, file: str, labels: dict[int, str]) -> AnnotatedImage:
    """Return the regions of one image.

    Raises:
        UserError: if a line is no polygon; an image with boxes only is no error.
    """
    shapes, boxes = [], 0
    for number, line in enumerate(tree.read(file).decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        fields = _numbers(line)
        boxes += len(fields) == _BOX
        if len(fields) == _BOX:
            continue
        inside = all(-0.01 <= value <= 1.01 for value in fields[1:])
        if len(fields) < _BOX + 2 or len(fields) % 2 == 0 or not inside or not fields[0].is_integer():
            raise UserError(f"line {number} is {line[:40]!r}; {_EXPECTED}")
        label = labels.get(int(fields[0]), str(int(fields[0])))
        if not is_background(label):
            points = tuple(zip(fields[1::2], fields[2::2], strict=True))
            shapes.append(Shape(label, "polygon", points, relative=True))
    if boxes and shapes:
        raise UserError(f"has {boxes} boxes beside its polygons; expected polygons only")
    path = _image_path(file)
    return AnnotatedImage(path, split_of_folders(path), shapes=tuple(shapes), others="boxes" if boxes else "")


def _image_path(file: str) -> str:
    """Return the path that the image of a text file has where all names are as YOLO expects them."""
    parts = ["images" if part.lower() == "labels" else part for part in file.split("/")]
    return "/".join(parts)


def _labels(tree: Tree) -> dict[int, str]:
    """Return the names of the labels by number, from data.yaml or a list; empty without one."""
    import yaml

    for name in tree.names:
        if PurePosixPath(name).suffix.lower() in (".yaml", ".yml"):
            try:
                content = yaml.safe_load(tree.read(name))
            except (yaml.YAMLError, UnicodeError):
                continue
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, list | dict):
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(key): str(label) for key, label in pairs if re.fullmatch(r"\d+", str(key))}
    for name in tree.names:
        if PurePosixPath(name).name.lower() in _CLASSES:
            lines = tree.read(name).decode("utf-8", "replace").splitlines()
            return dict(enumerate(line.strip() for line in lines))
    return {}
