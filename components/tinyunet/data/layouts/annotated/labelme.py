"""Layout `labelme`: the JSON files of the program LabelMe, beside their images or in a folder of their own.

A polygon is drawn as `labelme.utils.shape_to_mask` does, with Pillow: https://github.com/wkentaro/labelme
"""

import base64
import io
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from tinyunet.core.documents.base import parse_json
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.shapes import Shape, draw, is_background, picture_size, type_values
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem, SourceFile, summarize
from tinyunet.data.layouts.matching import Match, Picture, count_text, make_samples, sort_samples
from tinyunet.data.layouts.names import common_folder, folders_of, is_picture, split_of, stem_of
from tinyunet.data.sources.trees import Tree, composed

NAME = "labelme"
_FILES_TO_RECOGNISE = 5
_TURNED = ("rotation", "rectangle")  # of X-AnyLabeling: all four corners
_KINDS = "polygon, rectangle, circle or mask"


@dataclass(frozen=True)
class _Annotation:
    """A JSON file: its path, that of its image, the regions, and (width, height) if it says them."""

    file: str
    image: str
    shapes: tuple[Shape, ...]
    size: tuple[int, int] | None


def recognise(tree: Tree) -> bool:
    """Return whether one of the first JSON files has the keys shapes and imagePath."""
    for name in [name for name in tree.names if _is_json(name)][:_FILES_TO_RECOGNISE]:
        try:
            data = tree.read(name)
        except (OSError, UserError):
            continue
        if b'"shapes"' in data and b'"imagePath"' in data:
            return True
    return False


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; an image whose JSON file has no shapes is clean.

    Raises:
        UserError: if no JSON file is one of LabelMe, or there are too many labels.
    """
    annotations, problems = _read_all(tree)
    if problems and not annotations:
        raise UserError(summarize(tree.location, problems))
    if not annotations:
        raise UserError(
            f"{tree.location} has no JSON file of LabelMe with its image; expected part.json beside part.jpg"
        )
    pictures = [name for name in tree.names if is_picture(name)]
    root = common_folder(pictures)
    matches = []
    for name in pictures:
        annotation = annotations.get(name)
        matches.append(Match(_picture(name, root), Picture(annotation.file, "") if annotation else None))
    samples, missing = make_samples(tree, matches, "a JSON file of the same name", options)
    values = type_values(
        shape.type_name for annotation in annotations.values() for shape in annotation.shapes
    )
    drawn = []
    for sample in samples:
        shapes = annotations[sample.image.name].shapes if sample.image.name in annotations else ()
        mask = _mask(tree, annotations[sample.image.name], values) if shapes else None
        drawn.append(replace(sample, mask=mask, defective=None if mask else False))
    used = {file for annotation in annotations.values() for file in (annotation.file, annotation.image)}
    return Listing(
        layout=NAME,
        found=f"JSON files of LabelMe: {count_text(drawn)}; labels {', '.join(values) or 'none'}",
        category=options.category,
        samples=sort_samples(drawn),
        problems=(*problems, *missing),
        ignored=tuple(name for name in tree.names if name not in used and not is_picture(name)),
        type_names={value: name for name, value in values.items()},
    )


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _picture(name: str, root: str) -> Picture:
    folders = folders_of(name.removeprefix(root))
    split = next((split_of(folder) for folder in folders if split_of(folder)), "")
    return Picture(name, stem_of(name), split, tuple(folder for folder in folders if not split_of(folder)))


def _read_all(tree: Tree) -> tuple[dict[str, _Annotation], list[Problem]]:
    """Return the annotations by image, and the faults; JSON files of other programs are left out."""
    by_path, by_stem = {}, defaultdict[str, list[str]](list)
    for name in tree.names:
        if is_picture(name):
            by_path[name.lower()] = name
            by_stem[stem_of(name).lower()].append(name)
    found: dict[str, _Annotation] = {}
    problems = []
    for file in filter(_is_json, tree.names):
        try:
            content = parse_json(tree.read(file))
            if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
                continue
            annotation = _annotation(file, content, by_path, by_stem)
            if annotation.image in found:
                raise UserError(
                    f"is a second annotation of {annotation.image} beside {found[annotation.image].file}"
                )
            found[annotation.image] = annotation
        except (UserError, OSError) as error:
            problems.append(Problem(file, str(error)))
        except (ValueError, AttributeError, TypeError):
            problems.append(Problem(file, "is not JSON of LabelMe"))
    return found, problems


def _annotation(
    file: str, content: dict[str, Any], by_path: dict[str, str], by_stem: dict[str, list[str]]
) -> _Annotation:
    """Return the annotation in a JSON file.

    Raises:
        UserError: if its image is missing or a shape cannot be drawn.
    """
    image_path = composed(str(content.get("imagePath") or "")).replace("\\", "/")
    folder = PurePosixPath(file).parent
    image = by_path.get(normpath(folder / image_path).lower(), "") if image_path else ""
    same_stem = by_stem.get(stem_of(file).lower(), [])
    beside = [name for name in same_stem if PurePosixPath(name).parent == folder]
    if not image:
        if len(beside or same_stem) != 1:
            raise UserError(
                f"is an annotation without an image; expected {PurePosixPath(image_path).name or 'one'}"
            )
        image = (beside or same_stem)[0]
    shapes = tuple(_shape(shape) for shape in content["shapes"] if not is_background(str(shape.get("label"))))
    width, height = content.get("imageWidth"), content.get("imageHeight")
    size = None
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        size = (width, height)
    return _Annotation(file, image, shapes, size)


def _shape(shape: dict[str, Any]) -> Shape:
    """Return the region of a shape.

    Raises:
        UserError: if it has no area, such as a line, or is damaged.
    """
    label, kind = str(shape.get("label") or "defect"), str(shape.get("shape_type") or "polygon")
    try:
        points = tuple((float(x), float(y)) for x, y in shape.get("points") or [])
        if (kind == "polygon" and len(points) >= 3) or (kind in _TURNED and len(points) == 4):
            return Shape(label, "polygon", points)
        if kind == "rectangle" and len(points) == 2:
            (left, top), (right, bottom) = points
            return Shape(label, "polygon", ((left, top), (right, top), (right, bottom), (left, bottom)))
        if kind == "circle" and len(points) == 2:
            (x, y), radius = points[0], math.dist(*points)
            return Shape(label, "ellipse", ((x - radius, y - radius), (x + radius, y + radius)))
        if kind == "mask" and points:
            return Shape(label, "bitmap", points[:1], _bitmap(str(shape["mask"])))
    except (TypeError, ValueError, KeyError, OSError) as error:
        raise UserError(f"has a damaged shape of the label {label!r}; save it again with LabelMe") from error
    raise UserError(f"has a {kind} with {len(points)} points, which has no area; expected {_KINDS}")


def _bitmap(encoded: str) -> bytes:
    """Return the PNG of a shape of the type mask, after a check that it is one."""
    from PIL import Image

    data = base64.b64decode(encoded, validate=True)
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()
    return data


def _mask(tree: Tree, annotation: _Annotation, values: dict[str, int]) -> SourceFile:
    """Return the mask that is drawn when it is read."""

    def size() -> tuple[int, int]:
        return annotation.size or picture_size(partial(tree.read, annotation.image))

    return SourceFile(annotation.file, partial(draw, annotation.shapes, values, size), upright=True)
