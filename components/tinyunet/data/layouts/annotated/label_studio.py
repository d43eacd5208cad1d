"""Layout `label-studio`: a JSON export of Label Studio beside the images: polygons, ellipses and brushes.

Format: https://labelstud.io/guide/export; brushes: the decoding of label_studio_converter/brush.py.
"""

import math
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.documents.base import parse_json
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.items import AnnotatedImage, Format, make_listing
from tinyunet.data.layouts.annotated.shapes import Shape, is_background, pack, turned_ellipse
from tinyunet.data.layouts.base import LayoutOptions, Listing
from tinyunet.data.layouts.names import is_picture, stem_of
from tinyunet.data.sources.trees import Tree

NAME = "label-studio"
_FILES_TO_RECOGNISE = 20
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of an uploaded file
_LABELS = ("polygonlabels", "brushlabels", "ellipselabels", "rectanglelabels", "labels")
_TASK = re.compile(rb'\A\s*\[\s*\{.*"(annotations|completions|annotation_id)"', re.DOTALL)
_BRUSH_FILE = re.compile(r"(?i)task-\d+-annotation-\d+-.*\.(png|npy)$")


def recognise(tree: Tree) -> bool:
    """Return whether one of the first JSON files is a list of tasks with annotations."""
    return bool(_files(tree))


def has_brush_files(tree: Tree) -> bool:
    """Return whether there are masks such as `task-1-annotation-2-by-1-tag-dent-0.png`."""
    return any(_BRUSH_FILE.search(name) for name in tree.names)


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; a task with an annotation without regions is a clean image.

    Raises:
        UserError: if there are no annotations, or they cannot be read.
    """
    files, items = _files(tree), list[AnnotatedImage]()
    if not files:
        raise UserError(f"{tree.location} has no JSON export of Label Studio")
    stems = {stem_of(name).lower() for name in tree.names if is_picture(name)}
    for file in files:
        try:
            items += [_image(task, stems) for task in parse_json(tree.read(file)) if _is_annotated(task)]
        except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
            raise UserError(f"{file} is not a JSON export of Label Studio; export it again") from error
    return make_listing(tree, options, Format(NAME, "Label Studio", files), items)


def _files(tree: Tree) -> list[str]:
    found = []
    for name in [name for name in tree.names if name.lower().endswith(".json")][:_FILES_TO_RECOGNISE]:
        try:
            data = tree.read(name)
        except (OSError, UserError):
            continue
        if _TASK.search(data[: 2**20]):
            found.append(name)
    return found


def _is_annotated(task: dict[str, Any]) -> bool:
    """Return whether a task has an annotation; an export may have tasks that nobody has annotated yet."""
    return "data" not in task or not task["data"] or bool(_done(task))


def _image(task: dict[str, Any], stems: set[str]) -> AnnotatedImage:
    """Return the annotations of a task, of the full export or of JSON_MIN."""
    shapes, boxes = list[Shape](), 0
    for region in _regions(task):
        label = next((str(region[key][0]) for key in _LABELS if region.get(key)), "defect")
        if shape := _shape(label, region):
            shapes += [] if is_background(label) else [shape]
        elif "width" in region:
            boxes += 1
    path = _path(task, stems)
    return AnnotatedImage(path, shapes=tuple(shapes), others="boxes" if boxes else "")


def _path(task: dict[str, Any], stems: set[str]) -> str:
    """Return the path of the image of a task, without the prefix of an upload if the source has none."""
    values = [str(value) for value in task.get("data", task).values()]
    path = next((path for path in map(_path_of_address, values) if is_picture(path)), "")
    if not path:
        raise KeyError("image")
    folder, _, name = path.replace("\\", "/").rpartition("/")
    if stem_of(name).lower() not in stems:
        name = _UPLOAD.sub("", name)
    return f"{folder}/{name}".lstrip("/")


def _path_of_address(address: str) -> str:
    """Return the path in a URL, or in the address of a local file, which has it behind `?d=`."""
    local = address.partition("?d=")[2]
    path = local or (address.partition("#")[0].partition("?")[0] if "://" in address else address)
    return unquote(path)


def _regions(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the regions of the first annotation that was not cancelled; sizes are in `original_…`."""
    if "data" not in task:  # JSON_MIN
        for value in task.values():
            yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()
        return
    for region in _done(task)[0]["result"]:
        sizes = {key: region[key] for key in ("original_width", "original_height") if key in region}
        yield {**region.get("value", {}), **sizes}


def _done(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations of a task that were not cancelled."""
    annotations = task.get("annotations") or task.get("completions") or []
    return [one for one in annotations if not one.get("was_cancelled")]


def _shape(label: str, region: dict[str, Any]) -> Shape | None:
    """Return a region; None for a box or a choice. Coordinates are percentages."""
    if region.get("rle"):
        width, height = int(region["original_width"]), int(region["original_height"])
        levels = decode_brush(region["rle"]).reshape(height, width, 4)[..., 3]
        return Shape(label, "bitmap", ((0, 0),), pack(levels > 127))
    if "points" in region:
        points = tuple((float(x) / 100, float(y) / 100) for x, y in region["points"])
        return Shape(label, "polygon", points, relative=True)
    if "radiusX" in region:
        (x, y), (a, b) = (region["x"], region["y"]), (region["radiusX"], region["radiusY"])
        if turned := float(region.get("rotation") or 0):
            right, down = region["original_width"] / 100, region["original_height"] / 100
            centre, radii = (x * right, y * down), (a * right, b * down)
            return Shape(label, "polygon", turned_ellipse(centre, radii, math.radians(turned)))
        corners = (((x - a) / 100, (y - b) / 100), ((x + a) / 100, (y + b) / 100))
        return Shape(label, "ellipse", corners, relative=True)
    return None


def decode_brush(numbers: list[int]) -> NDArray[np.uint8]:
    """Return the levels that a brush has encoded, uint8 [H · W · 4].

    The bits are: 32 for the number of levels, 5 for the bits of a level minus 1, four times 4 for the bits of
    a length minus 1; then runs: whether it repeats one level, 2 bits for which length, the length minus 1,
    and one level or all levels.
    """
    bits = "".join(f"{number:08b}" for number in numbers)
    position = 0

    def read(size: int) -> int:
        nonlocal position
        position += size
        return int(bits[position - size : position], 2)

    levels = np.zeros(read(32), np.uint8)
    word = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    start = 0
    while start < len(levels):
        repeats = read(1)
        end = start + 1 + read(sizes[read(2)])
        levels[start:end] = read(word) if repeats else [read(word) for _ in range(end - start)]
        start = end
    return levels
