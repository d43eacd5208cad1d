"""The development edition of DAGM2007: ClassN without defects, ClassN_def with one ellipse for each image.

The rows of ClassN_def/labels.txt are separated by tabs or spaces: number of the image, semi-major axis,
semi-minor axis (pixels), angle of the major axis (radians, from the x axis towards the y axis, which points
down), x and y of the centre (pixels). The masks are filled ellipses, as in the edition with Train and Test.
"""

import io
import math
import re
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.categories import class_category, class_number
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import (
    LayoutOptions,
    Listing,
    Problem,
    SourceFile,
    SourceSample,
    require_category,
)
from tinyunet.data.layouts.dagm import class_of
from tinyunet.data.layouts.labels import decode_labels
from tinyunet.data.layouts.matching import source_file
from tinyunet.data.pictures.opening import opened
from tinyunet.data.sources.trees import Tree

NAME = "dagm-development"


class Ellipse(NamedTuple):
    """The label of one defect; lengths in pixels, the angle in radians."""

    semi_major: float
    semi_minor: float
    angle: float
    x: float
    y: float


def recognise(tree: Tree) -> bool:
    """Return whether the names are those of this edition; see `Layout.recognise`."""
    return bool(_find_classes(tree))


def categories(tree: Tree) -> tuple[str, ...]:
    """Return `class1` to `class10`, those that are there; see `Layout.categories`."""
    return tuple(_find_classes(tree))


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples of a class, without a split; see `Layout.list_samples`."""
    classes = _find_classes(tree)
    if not classes:
        raise UserError(f"{tree.location} holds no Class1_def with a labels.txt; expected DAGM2007")
    category = require_category(tree.location, class_category(options.category), tuple(classes))
    labels = classes[category]
    folder = labels.rpartition("/")[0]
    clean_folder = re.sub(r"(?i)_def$", "", folder)
    ellipses, problems = parse_ellipses(_read_labels(tree, labels), labels)
    clean, defective = _pictures(tree, clean_folder), _pictures(tree, folder)
    samples = [
        SourceSample(f"{number:04d}", source_file(tree, name), None, defective=False)
        for number, name in sorted(clean.items())
    ]
    for number, name in sorted(defective.items()):
        if number not in ellipses:
            problems.append(Problem(name, f"has no row in {labels}"))
            continue
        line, ellipse = ellipses[number]
        image = source_file(tree, name)
        mask = SourceFile(f"{labels}, line {line}", partial(_draw_mask, image, ellipse))
        samples.append(SourceSample(f"def_{number:04d}", image, mask, defective=True))
    problems += [
        Problem(labels, f"line {line} is for image {number}, which is missing")
        for number, (line, _) in ellipses.items()
        if number not in defective
    ]
    return Listing(
        layout=NAME,
        found=f"the development edition of DAGM2007, {category}: {len(clean)} images without defects in "
        f"{clean_folder}, {len(defective)} with a defect in {folder}",
        category=category,
        samples=tuple(samples),
        problems=tuple(problems),
        notes=(f"the masks are the ellipses of {labels}; this edition has no Train and Test",),
    )


def parse_ellipses(text: str, file: str) -> tuple[dict[int, tuple[int, Ellipse]], list[Problem]]:
    """Parse the ellipses of labels.txt.

    Returns:
        The line and the ellipse by number of the image, and the faults.
    """
    ellipses: dict[int, tuple[int, Ellipse]] = {}
    problems = []
    for line, content in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        fields = content.split()
        if not fields:
            continue
        try:
            number, *values = (float(field) for field in fields)
            ellipse = Ellipse(*values)
            if int(number) in ellipses or min(ellipse[:2]) <= 0 or not all(map(math.isfinite, ellipse)):
                raise ValueError
        except (ValueError, TypeError, OverflowError):
            expected = "expected a new number, two semi-axes, an angle, x and y"
            problems.append(Problem(file, f"line {line} is {content.strip()!r}, {expected}"))
            continue
        ellipses[int(number)] = (line, ellipse)
    return ellipses, problems


def draw(ellipse: Ellipse, height: int, width: int) -> NDArray[np.uint8]:
    """Return the mask of an ellipse, uint8 [height, width], 0 and 255."""
    y, x = np.ogrid[:height, :width]
    dx, dy = x - ellipse.x, y - ellipse.y
    along = (dx * np.cos(ellipse.angle) + dy * np.sin(ellipse.angle)) / ellipse.semi_major
    across = (dy * np.cos(ellipse.angle) - dx * np.sin(ellipse.angle)) / ellipse.semi_minor
    return np.where(along**2 + across**2 <= 1, np.uint8(255), np.uint8(0))


def _draw_mask(image: SourceFile, ellipse: Ellipse) -> bytes:
    from PIL import Image

    try:
        with opened(image.read()) as picture:
            width, height = picture.size
    except UserError as error:
        raise UserError("has no mask, because its image cannot be decoded") from error
    file = io.BytesIO()
    Image.fromarray(draw(ellipse, height, width)).save(file, format="PNG")
    return file.getvalue()


def _find_classes(tree: Tree) -> dict[str, str]:
    """Return the labels.txt of every class, sorted by class."""
    found: dict[str, str] = {}
    for name in tree.names:
        path = PurePosixPath(name)
        is_defect_folder = path.parent.name.lower().endswith("_def") and class_of(path.parent.name)
        if path.name.lower() == "labels.txt" and is_defect_folder:
            found.setdefault(class_of(path.parent.name), name)
    return dict(sorted(found.items(), key=lambda item: class_number(item[0]) or 0))


def _read_labels(tree: Tree, name: str) -> str:
    try:
        return decode_labels(tree.read(name))
    except (UnicodeError, OSError) as error:
        raise UserError(f"{tree.location}/{name} cannot be read as text; save it as UTF-8") from error
    except UserError as error:
        raise UserError(f"{tree.location}/{name} {error}") from error


def _pictures(tree: Tree, folder: str) -> dict[int, str]:
    """Return the PNG files of a folder by their number."""
    paths = [PurePosixPath(name) for name in tree.names if PurePosixPath(name).parent.as_posix() == folder]
    return {
        int(path.stem): str(path) for path in paths if path.suffix.lower() == ".png" and path.stem.isdecimal()
    }
