"""Layout `via`: files of the VGG Image Annotator, exports as JSON or CSV, or a whole project.

Format: https://www.robots.ox.ac.uk/~vgg/software/via, versions 1 and 2.
"""

from typing import Any

from tinyunet.core.documents.base import parse_json
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.items import AnnotatedImage, Format, make_listing, split_of_folders
from tinyunet.data.layouts.annotated.shapes import Shape, is_background, turned_ellipse
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem
from tinyunet.data.layouts.names import suffix_of
from tinyunet.data.layouts.tabular import read_rows
from tinyunet.data.sources.trees import Tree

NAME = "via"
_FILES_TO_RECOGNISE = 20
_MARKS = (b'"filename"', b'"regions"')
_CSV_SHAPE = "region_shape_attributes"  # column of the export as CSV


def recognise(tree: Tree) -> bool:
    """Return whether one of the first JSON or CSV files has the keys of the annotator."""
    return bool(_files(tree))


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; an image without regions is clean.

    Raises:
        UserError: if there are no annotations.
    """
    files, items, problems = _files(tree), list[AnnotatedImage](), list[Problem]()
    if not files:
        raise UserError(f"{tree.location} has no file of the VGG Image Annotator; export one")
    for file in files:
        try:
            items += [_image(file, entry) for entry in _entries(tree, file)]
        except (UserError, OSError) as error:
            problems.append(Problem(file, str(error)))
        except (ValueError, AttributeError, TypeError, KeyError):
            problems.append(Problem(file, "is no export of the VGG Image Annotator"))
    form = Format(NAME, "VIA", files, problems=tuple(problems))
    return make_listing(tree, options, form, items)


def _files(tree: Tree) -> list[str]:
    found = []
    for name in [name for name in tree.names if suffix_of(name) in (".json", ".csv")][:_FILES_TO_RECOGNISE]:
        try:
            data = tree.read(name)
        except (OSError, UserError):
            continue
        is_csv = suffix_of(name) == ".csv" and _CSV_SHAPE.encode() in data.partition(b"\n")[0]
        if is_csv or (suffix_of(name) == ".json" and all(mark in data for mark in _MARKS)):
            found.append(name)
    return found


def _entries(tree: Tree, file: str) -> list[dict[str, Any]]:
    """Return the images of a file, each with its file name and its regions."""
    if suffix_of(file) == ".json":
        content = parse_json(tree.read(file))
        return [one for one in content.get("_via_img_metadata", content).values() if isinstance(one, dict)]
    regions: dict[str, list[Any]] = {}
    for _, row in read_rows(tree, file):
        name = row.get("filename") or row["#filename"]
        keys = ("shape_attributes", "region_attributes")
        values = (parse_json(row[_CSV_SHAPE] or "{}"), parse_json(row["region_attributes"] or "{}"))
        regions.setdefault(name, []).extend([dict(zip(keys, values, strict=True))] if values[0] else [])
    return [{"filename": name, "regions": found} for name, found in regions.items()]


def _image(file: str, entry: dict[str, Any]) -> AnnotatedImage:
    regions = entry["regions"]
    shapes, boxes = [], 0
    for region in regions.values() if isinstance(regions, dict) else regions:
        label, found = _label(region.get("region_attributes")), region["shape_attributes"]
        if found["name"] == "rect":
            boxes += 1
        elif not is_background(label):
            shapes.append(_shape(str(entry["filename"]), label, found))
    name = str(entry["filename"]).replace("\\", "/").rpartition("/")[2]
    path = f"{file.rpartition('/')[0]}/{name}".lstrip("/")
    split = split_of_folders(path)
    return AnnotatedImage(path, split, shapes=tuple(shapes), others="boxes" if boxes else "")


def _label(attributes: Any) -> str:  # noqa: ANN401  any JSON value
    """Return the first attribute that has a value; of a list of choices, the first one that is chosen."""
    for value in attributes.values() if isinstance(attributes, dict) else ():
        if isinstance(value, dict):
            value = next((key for key, chosen in value.items() if chosen), "")
        if str(value).strip():
            return str(value).strip()
    return "defect"


def _shape(image: str, label: str, found: dict[str, Any]) -> Shape:
    kind = found["name"]
    if kind in ("polygon", "polyline") and len(found["all_points_x"]) >= 3:
        corners = zip(found["all_points_x"], found["all_points_y"], strict=True)
        return Shape(label, "polygon", tuple((float(x), float(y)) for x, y in corners))
    if kind in ("circle", "ellipse"):
        centre = (float(found["cx"]), float(found["cy"]))
        radii = float(found.get("rx", found.get("r", 0))), float(found.get("ry", found.get("r", 0)))
        return Shape(label, "polygon", turned_ellipse(centre, radii, float(found.get("theta", 0))))
    raise UserError(f"has a {kind} in {image}, which has no area; expected polygons, circles or ellipses")
