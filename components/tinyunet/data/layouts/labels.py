"""The text of Labels.txt, the list of the images of a split."""

import codecs
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

EMPTY_MASK = "0\t"  # the last field of a defect-free image in the official form


@dataclass(frozen=True)
class Row:
    """One row of Labels.txt.

    Attributes:
        line: Number of the line, counted from 1.
        defective: Whether the image shows a defect.
        image: File name of the image.
        mask: File name of the mask; None where the image is defect-free.
    """

    line: int
    defective: bool
    image: str
    mask: str | None


def decode_labels(data: bytes) -> str:
    """Decode Labels.txt from UTF-8, or from UTF-16 or UTF-32, which some Windows programs write.

    Raises:
        UnicodeError: if the bytes have none of these encodings.
    """
    marks = {"utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-16": (codecs.BOM_LE, codecs.BOM_BE)}
    for encoding, starts in marks.items():
        if data.startswith(starts):
            text = data.decode(encoding)
            if "\t" not in text:
                raise UnicodeError("no tab in the text")
            return text
    if b"\0" in data[:2]:
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
    return data.decode("utf-8")


def parse_labels(text: str) -> tuple[list[Row], list[tuple[int, str]]]:
    """Parse Labels.txt; a byte order mark, CRLF, blank lines, a header line and trailing tabs are accepted.

    Args:
        text: Tab-separated rows `number, 0|1, image, 0, mask|0`. A first line with one field is a header.

    Returns:
        The rows, and for every malformed line its number and its fault.
    """
    rows: list[Row] = []
    errors: list[tuple[int, str]] = []
    for line, content in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        fields = content.strip().split("\t")
        if not content.strip() or (line == 1 and len(fields) == 1):
            continue
        if len(fields) != 5 or fields[1] not in ("0", "1"):
            expected = "expected five fields separated by tabs: number, 0 or 1, image, 0, mask or 0"
            errors.append((line, f"{content.strip()!r}, {expected}"))
            continue
        rows.append(Row(line, fields[1] == "1", fields[2], None if fields[4] == "0" else fields[4]))
    return rows, errors


def parse_list(text: str) -> tuple[list[Row], list[tuple[int, str]]]:
    """Parse a list as CSV, which some copies have beside the folders: `train_list.csv`, `test_list.csv`.

    Args:
        text: CSV with the columns `image_filepath`, `lbl_image_filepath` (may be empty) and `is_defective`.

    Returns:
        As `parse_labels`.
    """
    rows: list[Row] = []
    errors: list[tuple[int, str]] = []
    columns = ("image_filepath", "lbl_image_filepath", "is_defective")
    for line, fields in enumerate(csv.DictReader(text.removeprefix("\ufeff").splitlines()), start=2):
        image, mask, flag = ((fields.get(column) or "").strip() for column in columns)
        if not image or flag not in ("0", "1"):
            content = ",".join(map(str, fields.values()))
            errors.append((line, f"{content!r}, expected the columns {', '.join(columns)} (0 or 1)"))
            continue
        mask_name = PurePosixPath(mask.replace("\\", "/")).name if flag == "1" else ""
        rows.append(Row(line, flag == "1", PurePosixPath(image.replace("\\", "/")).name, mask_name or None))
    return rows, errors


def format_labels(rows: Iterable[Row]) -> str:
    """Return the text of Labels.txt in the official form: header `1`, CRLF, a tab after defect-free rows."""
    lines = ["1"]
    for row in rows:
        stem = PurePosixPath(row.image).stem
        lines.append(f"{stem}\t{row.defective:d}\t{row.image}\t0\t{row.mask or EMPTY_MASK}")
    return "".join(line + "\r\n" for line in lines)
