"""The text of Labels.txt, the list of the images of a split."""

import codecs
from dataclasses import dataclass


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
