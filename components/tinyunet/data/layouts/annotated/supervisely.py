"""Layout `supervisely`: projects of the program Supervisely, one JSON file for each image.

Format: https://docs.supervisely.com/customization-and-integration/00_ann_format_navi. Images are in folders
`img`, and `ann/a.jpg.json` beside them has the objects of `img/a.jpg`.
"""

import base64
import binascii
import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.documents.base import parse_json
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.items import AnnotatedImage, Format, make_listing, split_of_folders
from tinyunet.data.layouts.annotated.shapes import Shape, is_background, pack
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem
from tinyunet.data.layouts.names import folders_of
from tinyunet.data.sources.trees import Tree

NAME = "supervisely"
_FILES_TO_RECOGNISE = 5
_WITHOUT_AREA = ("point", "line", "graph", "polyline", "any", "cuboid")


def recognise(tree: Tree) -> bool:
    """Return whether one of the first JSON files in a folder `ann` has the keys objects and size."""
    for name in _files(tree)[:_FILES_TO_RECOGNISE]:
        try:
            data = tree.read(name)
        except (OSError, UserError):
            continue
        if b'"objects"' in data and b'"size"' in data:
            return True
    return False


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; an image without objects is clean.

    Raises:
        UserError: if there are no annotations.
    """
    files, items, problems = _files(tree), list[AnnotatedImage](), list[Problem]()
    if not files:
        raise UserError(f"{tree.location} has no JSON file of Supervisely; expected ann/a.jpg.json")
    for file in files:
        try:
            items.append(_read(file, parse_json(tree.read(file))))
        except (UserError, OSError) as error:
            problems.append(Problem(file, str(error)))
        except (ValueError, AttributeError, TypeError, KeyError, zlib.error, binascii.Error):
            problems.append(Problem(file, "is not JSON of Supervisely"))
    form = Format(NAME, "Supervisely", files, problems=tuple(problems))
    return make_listing(tree, options, form, items)


def _files(tree: Tree) -> list[str]:
    return [
        name
        for name in tree.names
        if name.lower().endswith(".json") and folders_of(name) and folders_of(name)[-1].lower() == "ann"
    ]


def _read(file: str, content: dict[str, Any]) -> AnnotatedImage:
    folder, _, name = file.rpartition("/")
    path = f"{folder[: -len('ann')]}img/{name[: -len('.json')]}"
    if "." not in name[: -len(".json")]:  # early exports: a.json of a.jpg
        path = f"{path}.jpg"
    shapes, boxes = [], 0
    for found in content["objects"]:
        label, kind = str(found["classTitle"]), str(found.get("geometryType") or "polygon")
        if kind in _WITHOUT_AREA:
            raise UserError(
                f"has a {kind} of the label {label!r}, which has no area; expected polygons or masks"
            )
        if kind == "rectangle":
            boxes += 1
        elif not is_background(label):
            shapes.append(_shape(label, kind, found))
    size = (int(content["size"]["width"]), int(content["size"]["height"]))
    return AnnotatedImage(path, split_of_folders(path), size, tuple(shapes), "boxes" if boxes else "")


def _shape(label: str, kind: str, found: dict[str, Any]) -> Shape:
    if kind == "bitmap":
        x, y = found["bitmap"]["origin"]
        data = zlib.decompress(base64.b64decode(found["bitmap"]["data"]))
        return Shape(label, "bitmap", ((float(x), float(y)),), pack(_opaque(data)))
    outline, *holes = [
        tuple((float(x), float(y)) for x, y in part)
        for part in (found["points"]["exterior"], *found["points"].get("interior", []))
    ]
    return Shape(label, "polygon", outline, holes=tuple(holes))


def _opaque(data: bytes) -> NDArray[np.bool_]:
    """Return which pixels of a PNG are not transparent or, if it has no transparency, not black."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        colours = np.asarray(picture.convert("RGBA"))
    alpha = colours[..., 3]
    shown: NDArray[np.bool_] = alpha > 0 if (alpha < 255).any() else colours[..., :3].max(axis=2) > 0
    return shown
