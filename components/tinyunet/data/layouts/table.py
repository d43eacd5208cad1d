"""Layout `table`: the rows of a CSV or JSON-lines file name the image, mask, split, type and group."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import (
    RESPLIT_NOTE,
    LayoutOptions,
    Listing,
    Problem,
    SourceSample,
    require_category,
)
from tinyunet.data.layouts.matching import count_text, sort_samples, source_file
from tinyunet.data.layouts.names import (
    UniqueNames,
    common_folder,
    folders_of,
    is_clean,
    sample_name,
    split_of,
    stem_of,
    suffix_of,
)
from tinyunet.data.layouts.tabular import Files, headers_by_words, read_rows, shown, table_names
from tinyunet.data.sources.trees import Tree

NAME = "table"
_COLUMNS: dict[str, tuple[str, ...]] = {
    "image": (
        *("image", "image_path", "file", "file_name", "filename", "image_name", "image_file"),
        *("image_filename", "img", "img_path", "path", "filepath", "file_path"),
        *("bild", "dateiname"),
    ),
    "mask": (
        *("mask", "mask_path", "mask_file", "mask_name", "mask_filename", "mask_file_name"),
        *("label_path", "annotation_path", "gt_path", "ground_truth", "segmentation", "maske"),
    ),
    "split": ("split", "subset"),
    "type": ("type", "defect_type", "fehlerart"),
    "group": ("group", "part", "serial"),
    "category": ("category", "object"),
}
_REQUIRED = ("image", "mask")
_EXPECTED = (
    "expected a CSV or JSON-lines file with the columns image and mask, and if wanted split, type, group"
)
_ROWS_TO_RECOGNISE = 20
_PREFERRED = "1cls"  # VisA has three tables of the same images; they differ by their splits


@dataclass(frozen=True)
class _Row:
    """One row: its place (`labels.csv: line 3`), its values by column, and the folder of the table.

    A missing value is empty.
    """

    place: str
    values: dict[str, str]
    folder: str = ""


def recognise(tree: Tree) -> bool:
    """Return whether a table has the columns image and mask, names images that exist, and any mask.

    Without a mask, it is a list of images whose masks may lie beside it.
    """
    return any(row.values["mask"] for name in _fitting(tree) for row in _rows(tree, name))


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
        tree, [row for row in rows if row.values["category"] == category or not known]
    )
    trained = {sample.defective is None for sample in samples if sample.split == "train"}
    resplit = trained == {False} and any(one.mask for one in samples)  # as in data for anomaly detection
    if resplit:
        samples = [replace(sample, split="") for sample in samples]
    used = {file.name for sample in samples for file in (sample.image, sample.mask) if file}
    return Listing(
        layout=NAME,
        found=f"table {' and '.join(tables)}: {count_text(samples)}",
        category=category,
        samples=sort_samples(samples),
        problems=tuple(problems),
        notes=(RESPLIT_NOTE,) if resplit else (),
        ignored=tuple(name for name in tree.names if name not in used and name not in tables),
    )


def refusals(tree: Tree) -> dict[str, str]:
    """Return why each other table of the source cannot be used: `labels.csv has no column mask`."""
    files = Files(tree.names)
    reasons = {name: reason for name in table_names(tree) if (reason := _refusal(tree, name, files))}
    without = [] if recognise(tree) else _fitting(tree)
    return reasons | {name: f"{name} names no mask" for name in without}


def _refusal(tree: Tree, name: str, files: Files) -> str:
    """Return why a table cannot be used; empty if it can."""
    try:
        rows = list(islice(_rows(tree, name), _ROWS_TO_RECOGNISE))
    except UserError as error:
        return str(error) if name in str(error) else f"{name} {error}"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror or error})"
    if not rows:
        return f"{name} has no rows"
    if any(files.find(row.values["image"], row.folder) for row in rows):
        return ""
    return f"{name} names the image {shown(rows[0].values['image'])}, which does not exist"


def _fitting(tree: Tree) -> list[str]:
    """Return the tables at the root whose first rows name images; without any, those in other folders."""
    root, files = common_folder(tree.names), Files(tree.names)
    names = table_names(tree)
    at_root = [name for name in names if _folder(name) in ("", root)]
    fitting = [name for name in at_root if not _refusal(tree, name, files)]
    fitting = fitting or [name for name in names if name not in at_root and not _refusal(tree, name, files)]
    return [name for name in fitting if stem_of(name).lower() == _PREFERRED] or fitting


def _tables(tree: Tree) -> list[str]:
    """Return the table, or one table for each split."""
    tables = _fitting(tree)
    if not tables:
        raise UserError(
            f"{tree.location} has no table that names its images"
            f"{''.join(f' ({reason})' for reason in list(refusals(tree).values())[:1])}; {_EXPECTED}"
        )
    if len(tables) > 1 and not all(map(_split_of_table, tables)):
        raise UserError(
            f"{tree.location} has the tables {', '.join(tables)}; keep one of them, name them train, "
            "validation and test, or read the folder of one of them"
        )
    return tables


def _split_of_table(name: str) -> str:
    """Return the split after which a table or its folder is named: `train.csv`, `train/metadata.csv`."""
    return next((split for text in (stem_of(name), *folders_of(name)[::-1]) if (split := split_of(text))), "")


def _all_rows(tree: Tree) -> list[_Row]:
    """Return the rows of the table; those of a table named train, validation or test have this split."""
    rows = []
    for name in _tables(tree):
        split = _split_of_table(name)
        for row in _rows(tree, name):
            rows.append(replace(row, values=row.values | {"split": row.values["split"] or split}))
    return rows


def _rows(tree: Tree, name: str) -> Iterator[_Row]:
    """Read the rows of a table.

    Raises:
        UserError: if the file is not text, not JSON, or lacks a column.
    """
    columns: dict[str, str] = {}
    is_json = suffix_of(name) in (".jsonl", ".ndjson")
    for line, values in read_rows(tree, name):
        if not columns or is_json:
            columns = _columns(name, values, _REQUIRED[: 1 if columns else None])  # null may be left out
        found = {column: values.get(header, "") for column, header in columns.items()}
        place = f"{name}: line {line}"
        yield _Row(place, {column: found.get(column, "") for column in _COLUMNS}, _folder(name))


def _folder(name: str) -> str:
    return "".join(f"{part}/" for part in folders_of(name))


def _columns(name: str, values: dict[str, str], required: tuple[str, ...]) -> dict[str, str]:
    """Return the header of each known column; case, spaces and underscores make no difference."""
    headers = headers_by_words(values)
    found = {
        column: headers[alias]
        for column, aliases in _COLUMNS.items()
        for alias in reversed(aliases)
        if alias in headers
    }
    if missing := [column for column in required if column not in found]:
        others = ", ".join(list(values)[:6])[:200]
        raise UserError(f"{name} has no column {' and no column '.join(missing)}, but {others}")
    return found


def _samples(tree: Tree, rows: list[_Row]) -> tuple[list[SourceSample], list[Problem]]:
    samples, problems, seen, unique = [], list[Problem](), set[str](), UniqueNames()
    files = Files(tree.names)
    root = common_folder(found for row in rows if (found := files.find(row.values["image"], row.folder)))
    for row in rows:
        image, mask = (files.find(row.values[column], row.folder) for column in _REQUIRED)
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
    if not values["image"]:
        return "the column image is empty"
    if not image:
        return f"the image {shown(values['image'])} does not exist"
    if image in seen:
        return f"the image {values['image']} is listed a second time"
    if values["mask"] and not mask:
        return f"the mask {shown(values['mask'])} does not exist"
    if values["split"] and not split:
        return f"the split is {values['split']!r}; expected train, validation or test"
    if values["type"] and not mask and not is_clean(values["type"]):
        return f"the type is {values['type']!r}, but the mask is empty; a clean image has no type"
    return ""
