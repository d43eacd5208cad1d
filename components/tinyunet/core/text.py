"""Text and JSON that other programs wrote, and names that need not be text."""

import json
import unicodedata
from typing import Any


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401  any JSON value
    """Return the value of a JSON text.

    Raises:
        ValueError: if it is not JSON, not UTF-8, UTF-16 or UTF-32, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def one_line(text: str) -> str:
    """Return text in which each control character and each byte of a name that is not UTF-8 is an escape."""
    shown = "".join(character if character >= " " else repr(character)[1:-1] for character in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def composed(name: str) -> str:
    """Return a name in which letters with accents are one character each, Unicode's form NFC.

    macOS writes the names of files in the other form; both look the same.
    """
    return unicodedata.normalize("NFC", name)
