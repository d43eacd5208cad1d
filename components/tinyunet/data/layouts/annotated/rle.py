"""Layout `rle`: a CSV file of encoded pixels, as in competitions of Kaggle.

A row is an image, a label or none, and runs of pixels: pairs of the first pixel and the length, counted from
1, column by column. Severstal: `ImageId,ClassId,EncodedPixels`, or `ImageId_ClassId,EncodedPixels`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.items import (
    AnnotatedImage,
    Format,
    clean_images,
    make_listing,
    split_of_folders,
)
from tinyunet.data.layouts.annotated.shapes import Shape, is_background
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem
from tinyunet.data.layouts.names import folders_of, is_picture
from tinyunet.data.layouts.tabular import headers_by_words, read_rows, shown, table_names
from tinyunet.data.sources.trees import Tree

NAME = "rle"
_COLUMNS: dict[str, tuple[str, ...]] = {
    "runs": ("encodedpixels", "encoded_pixels", "rle", "rle_mask", "mask_rle", "encoded_mask"),
    "image": ("image", "imageid", "image_id", "id", "img", "filename", "file_name", "image_name"),
    "both": ("imageid_classid", "image_id_class_id", "image_label", "imageid_label"),
    "label": ("classid", "class_id", "class", "label", "type", "defect", "defect_type"),
}
_ROWS_TO_RECOGNISE = 20
_EXPECTED = "expected a CSV file with the columns ImageId, ClassId and EncodedPixels"


@dataclass(frozen=True)
class _Row:
    """One row: where it is, its image as it is written, its label and its runs, which are empty for none."""

    place: str
    image: str
    label: str
    runs: str


def recognise(tree: Tree) -> bool:
    """Return whether a table has a column of encoded pixels and names images that exist."""
    return bool(_tables(tree))


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples: the images of the table, and the others in their folders, which are clean.

    Raises:
        UserError: if there is no table, or several.
    """
    tables = _tables(tree)
    if not tables:
        raise UserError(f"{tree.location} has no table of encoded pixels; {_EXPECTED}")
    if len(tables) > 1:
        raise UserError(f"{tree.location} has the tables {', '.join(tables)}; keep one of them")
    images, shapes, problems = _images(tree), defaultdict[str, list[Shape]](list), dict[str, Problem]()
    for row in _rows(tree, tables[0]):
        image = _find(images, row.image)
        if not image:
            message = f"the image {shown(row.image)} does not exist, or is in several folders"
            problems.setdefault(row.image, Problem(row.place, message))
            continue
        found = shapes[image]
        if row.runs and not is_background(row.label):
            found.append(Shape(row.label or "defect", "runs", bitmap=row.runs.encode()))
    folders = {folders_of(name) for name in shapes}
    clean, notes = clean_images(
        [
            name
            for name in tree.names
            if is_picture(name) and name not in shapes and folders_of(name) in folders
        ]
    )
    items = [AnnotatedImage(name, split_of_folders(name), shapes=tuple(s)) for name, s in shapes.items()]
    splits = {item.split for item in items}
    if len(splits) == 1:  # the images of a test, such as test_images, have no labels
        items = [AnnotatedImage(item.path, shapes=item.shapes) for item in items]
        clean = [AnnotatedImage(item.path) for item in clean]
    form = Format(NAME, "RLE", tables, complete=False, problems=tuple(problems.values()), notes=notes)
    return make_listing(tree, options, form, [*items, *clean])


def _tables(tree: Tree) -> list[str]:
    """Return the tables of encoded pixels of images in the source, without an example of a submission."""
    images, found = _images(tree), []
    for name in table_names(tree):
        try:
            rows = list(islice(_rows(tree, name), _ROWS_TO_RECOGNISE))
        except (UserError, OSError):
            continue
        if any(_find(images, row.image) for row in rows) and "submission" not in name.lower():
            found.append(name)
    return found


def _rows(tree: Tree, name: str) -> Iterator[_Row]:
    """Read the rows of a table.

    Raises:
        UserError: if the file is no table, or lacks a column.
    """
    columns: dict[str, str] = {}
    for line, values in read_rows(tree, name):
        columns = columns or _columns(values)
        if "runs" not in columns or not columns.keys() & {"image", "both"}:
            raise UserError(f"{name} has no columns of images and of encoded pixels; {_EXPECTED}")
        image, label = values.get(columns.get("image", ""), ""), values.get(columns.get("label", ""), "")
        if "both" in columns:
            image, _, label = values[columns["both"]].rpartition("_")
        yield _Row(f"{name}: line {line}", image, label, values.get(columns["runs"], ""))


def _columns(values: dict[str, str]) -> dict[str, str]:
    headers = headers_by_words(values) | {header.lower(): header for header in values}
    return {
        column: headers[alias]
        for column, aliases in _COLUMNS.items()
        for alias in reversed(aliases)
        if alias in headers
    }


def _images(tree: Tree) -> dict[str, str]:
    """Return the images by file name and by stem, in lower case; empty where several have it."""
    found: dict[str, str] = {}
    for name in filter(is_picture, tree.names):
        file = name.lower().rpartition("/")[2]
        for key in {name.lower(), file, file.rpartition(".")[0]}:
            found[key] = "" if found.get(key, name) != name else name
    return found


def _find(images: dict[str, str], text: str) -> str:
    """Return the image of a path, a file name or a stem; empty if there is none or it is not clear."""
    path = text.replace("\\", "/").lower()
    return images.get(path) or images.get(path.rpartition("/")[2], "")
