"""Layout `table`: the rows of a CSV or JSON-lines file name the image, mask, split, type and group."""

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem, SourceSample, require_category
from tinyunet.data.layouts.matching import count_text, sort_samples, source_file
from tinyunet.data.layouts.names import (
    UniqueNames,
    common_folder,
    folders_of,
    is_clean,
    sample_name,
    split_of,
    suffix_of,
    words_of,
)
from tinyunet.data.sources.trees import Tree

NAME = "table"
_COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("image", "image_path", "file", "file_name", "filename"),
    "mask": ("mask", "mask_path"),
    "split": ("split", "subset"),
    "type": ("type", "defect_type"),
    "group": ("group", "part", "serial"),
    "category": ("category", "object"),
}
_REQUIRED = ("image", "mask")
_EXTENSIONS = {".csv", ".tsv", ".jsonl", ".ndjson"}
_EXPECTED = (
    "expected a CSV or JSON-lines file with the columns image and mask, and if wanted split, type, group"
)
_ROWS_TO_RECOGNISE = 20


@dataclass(frozen=True)
class _Row:
    """One row: its place (`labels.csv: line 3`), and its values by column; a missing value is empty."""

    place: str
    values: dict[str, str]


def recognise(tree: Tree) -> bool:
    """Return whether a table at the root has the columns image and mask, and names images that exist."""
    return bool(_fitting(tree))


def categories(tree: Tree) -> tuple[str, ...]:
    """Return the values of the column category, sorted; empty without one."""
    return tuple(sorted({row.values["category"] for row in _all_rows(tree)} - {""}))


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples of the rows; a row without a mask is a clean image.

    Raises:
        UserError: if there is no table, several, or one that cannot be read.
    """
    tables = _tables(tree)
    rows = _all_rows(tree)
    known = tuple(sorted({row.values["category"] for row in rows} - {""}))
    category = require_category(tree.location, options.category, known)
    samples, problems = _samples(
        tree, [row for row in rows if not known or row.values["category"] == category]
    )
    used = {file.name for sample in samples for file in (sample.image, sample.mask) if file}
    return Listing(
        layout=NAME,
        found=f"table {' and '.join(tables)}: {count_text(samples)}",
        category=category,
        samples=sort_samples(samples),
        problems=tuple(problems),
        ignored=tuple(name for name in tree.names if name not in used and name not in tables),
    )


def _fitting(tree: Tree) -> list[str]:
    """Return the tables at the root whose first rows name images of the source."""
    root, files, fitting = common_folder(tree.names), _Files(tree.names), []
    for name in tree.names:
        if suffix_of(name) in _EXTENSIONS and "".join(f"{part}/" for part in folders_of(name)) in ("", root):
            try:
                rows = list(islice(_rows(tree, name), _ROWS_TO_RECOGNISE))
            except (UserError, OSError):
                continue
            if any(files.find(row.values["image"]) for row in rows):
                fitting.append(name)
    return fitting


def _tables(tree: Tree) -> list[str]:
    """Return the table, or one table for each split."""
    tables = _fitting(tree)
    if not tables:
        raise UserError(f"{tree.location} has no table at its root that names its images; {_EXPECTED}")
    if len(tables) > 1 and not all(split_of(PurePosixPath(name).stem) for name in tables):
        raise UserError(
            f"{tree.location} has the tables {', '.join(tables)}; keep one of them, or name them train, "
            "validation and test"
        )
    return tables


def _all_rows(tree: Tree) -> list[_Row]:
    """Return the rows of the table; those of a table named train, validation or test have this split."""
    rows = []
    for name in _tables(tree):
        split = split_of(PurePosixPath(name).stem)
        for row in _rows(tree, name):
            rows.append(_Row(row.place, row.values | {"split": row.values["split"] or split}))
    return rows


def _rows(tree: Tree, name: str) -> Iterator[_Row]:
    """Read the rows of a table.

    Raises:
        UserError: if the file is not text, not JSON, or lacks a column.
    """
    try:
        data = tree.read(name)
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeError as error:
        raise UserError(f"{name} is not text in UTF-8 or UTF-16; save it as UTF-8") from error
    is_json = PurePosixPath(name).suffix.lower() in (".jsonl", ".ndjson")
    columns: dict[str, str] = {}
    for line, values in _json_lines(name, text) if is_json else _csv_lines(name, text):
        if not columns or is_json:
            columns = _columns(name, values)
        found = {column: str(values.get(header) or "").strip() for column, header in columns.items()}
        yield _Row(f"{name}: line {line}", {column: found.get(column, "") for column in _COLUMNS})


def _csv_lines(name: str, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if isinstance(key, str)}
    except csv.Error as error:
        raise UserError(
            f"{name}: line {reader.line_num} is not CSV ({error}); expected closed quotation marks"
        ) from error


def _json_lines(name: str, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            try:
                row = json.loads(content)
            except ValueError as error:
                raise UserError(
                    f"{name}: line {line} is not JSON; expected one object in each line"
                ) from error
            if not isinstance(row, dict):
                raise UserError(f"{name}: line {line} is not a JSON object; expected one in each line")
            yield line, row


def _columns(name: str, values: dict[str, object]) -> dict[str, str]:
    """Return the header of each known column; case, spaces and underscores make no difference."""
    headers = {"_".join(words_of(header)): header for header in values}
    found = {
        column: headers[alias]
        for column, aliases in _COLUMNS.items()
        for alias in reversed(aliases)
        if alias in headers
    }
    if missing := [column for column in _REQUIRED if column not in found]:
        raise UserError(f"{name} has no column {' and no column '.join(missing)}; {_EXPECTED}")
    return found


class _Files:
    """The files of a source by the paths in a table."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._by_name = {name.lower(): name for name in names}
        self._root = common_folder(names).lower()

    def find(self, path: str) -> str:
        """Return the file of a path relative to the table or to the root; empty if there is none."""
        cleaned = str(PurePosixPath(path.replace("\\", "/"))).lower()
        found = self._by_name.get(cleaned) or self._by_name.get(f"{self._root}{cleaned}", "")
        return found if path else ""


def _samples(tree: Tree, rows: list[_Row]) -> tuple[list[SourceSample], list[Problem]]:
    samples, problems, seen, unique = [], list[Problem](), set[str](), UniqueNames()
    files = _Files(tree.names)
    root = common_folder(found for row in rows if (found := files.find(row.values["image"])))
    for row in rows:
        image, mask = (files.find(row.values[column]) for column in _REQUIRED)
        split = split_of(row.values["split"])
        if fault := _fault(row.values, image, mask, split, seen):
            problems.append(Problem(row.place, fault))
            continue
        seen.add(image)
        folders = PurePosixPath(image.removeprefix(root)).with_suffix("").parts
        kind = row.values["type"]
        sample = SourceSample(
            name=unique.add(
                split, sample_name(part for part in folders if not split or split_of(part) != split)
            ),
            image=source_file(tree, image),
            mask=source_file(tree, mask) if mask else None,
            split=split,
            defect_type="" if is_clean(kind) else kind,
            group=row.values["group"],
            defective=None if mask else False,
        )
        samples.append(sample)
    return samples, problems


def _fault(values: dict[str, str], image: str, mask: str, split: str, seen: set[str]) -> str:
    """Return what is wrong with a row; empty if nothing is."""
    if not image:
        return (
            f"the image {values['image']!r} does not exist"
            if values["image"]
            else "the column image is empty"
        )
    if image in seen:
        return f"the image {values['image']} is listed a second time"
    if values["mask"] and not mask:
        return f"the mask {values['mask']!r} does not exist"
    if values["split"] and not split:
        return f"the split is {values['split']!r}; expected train, validation or test"
    if values["type"] and not mask and not is_clean(values["type"]):
        return f"the type is {values['type']!r}, but the mask is empty; a clean image has no type"
    return ""
