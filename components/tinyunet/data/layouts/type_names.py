"""Names of defect types by their values in masks, where a file beside the masks says them."""

from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.shapes import is_background
from tinyunet.data.layouts.tabular import headers_by_words, read_rows
from tinyunet.data.sources.trees import Tree

TABLE = "_classes.csv"  # of Roboflow, in each split: the columns Pixel Value and Class
COLOURS = "class_dict.csv"  # the columns name, r, g, b
LINES = "class_names.txt"  # of labelme2voc: one label a line, the first one is the value 0


def read_type_names(tree: Tree) -> dict[int, str]:
    """Return the names by value or colour 0xRRGGBB, without the background; empty if no file says them."""
    names: dict[int, str] = {}
    for file in tree.names:
        name = PurePosixPath(file).name
        try:
            if name == TABLE:
                names |= _of_table(tree, file)
            elif name == COLOURS:
                names |= _of_colours(tree, file)
            elif name == LINES:
                names |= _of_lines(tree.read(file).decode("utf-8", "replace"))
        except (UserError, OSError):
            continue
    return {value: name for value, name in names.items() if name and not is_background(name)}


def _of_table(tree: Tree, file: str) -> dict[int, str]:
    names = {}
    for _, row in read_rows(tree, file):
        columns = headers_by_words(row)
        value, name = row.get(columns.get("pixel_value", "")), row.get(columns.get("class", ""))
        if value and name and value.isdecimal():
            names[int(value)] = name
    return names


def _of_colours(tree: Tree, file: str) -> dict[int, str]:
    names = {}
    for _, row in read_rows(tree, file):
        levels = [row.get(column, "") for column in "rgb"]
        if row.get("name") and all(level.isdecimal() for level in levels):
            red, green, blue = map(int, levels)
            names[red << 16 | green << 8 | blue] = row["name"]
    return names


def _of_lines(text: str) -> dict[int, str]:
    labels = [line.strip() for line in text.splitlines() if line.strip() and line.strip() != "__ignore__"]
    return dict(enumerate(labels))
