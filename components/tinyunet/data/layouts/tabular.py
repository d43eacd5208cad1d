"""Tables in a source: the rows of a CSV file or a JSON-lines file, whatever its columns."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from tinyunet.core.documents.base import parse_json
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.names import common_folder, folders_of, split_of, suffix_of, words_of
from tinyunet.data.sources.trees import Tree, composed

EXTENSIONS = {".csv", ".tsv", ".jsonl", ".ndjson"}
_BEGIN = re.compile(
    r'(?:[ \t\r]*\n)*(?:"?sep=(?P<separator>[^\r\n"])"?[ \t\r]*\n)?', re.I
)  # Excel writes sep=;
_LONGEST_SHOWN = 200
_LARGEST_FIELD = 2**31 - 1  # runs of a large mask have more characters than the limit of the csv module
_ABSOLUTE = re.compile(r"/|[a-z]:/")
_EMPTY = {"", "-", "nan", "none", "null", "n/a", "na", "<na>"}  # what pandas and people write for no value


def table_names(tree: Tree) -> list[str]:
    """Return the names of the tables of a source."""
    return [name for name in tree.names if suffix_of(name) in EXTENSIONS]


def read_rows(tree: Tree, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a table.

    Returns:
        The number of the line of each row, and its values by header; a missing value, also `nan`, is empty.

    Raises:
        OSError: if the file cannot be read.
        UserError: if the file is not text, not CSV or not JSON; the message names it.
    """
    data = tree.read(name)
    try:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeError as error:
        raise UserError(f"{name} is not text in UTF-8 or UTF-16; save it as UTF-8") from error
    if "\0" in text:
        raise UserError(f"{name} has characters of the value 0; save it as UTF-8")
    is_json = suffix_of(name) in (".jsonl", ".ndjson")
    for line, values in _json_lines(name, text) if is_json else _csv_lines(name, text):
        yield line, {header: _text(value) for header, value in values.items()}


def headers_by_words(headers: Iterable[str]) -> dict[str, str]:
    """Return headers by their words joined by `_`, so that case, spaces and underscores do not matter."""
    return {"_".join(words_of(header)): header for header in headers}


def shown(value: str) -> str:
    """Return a value for a message; behind an open quotation mark it is the rest of the file."""
    return repr(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")


def _text(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in _EMPTY else text


def _csv_lines(name: str, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    begin = _BEGIN.match(text)
    assert begin is not None, "both parts of the pattern may be empty"
    before, text = begin[0].count("\n"), text[begin.end() :]
    header = text.partition("\n")[0]
    found = max(",;\t", key=header.count)
    delimiter = begin["separator"] or (found if found in header else "|")  # | may be in a header, too
    limit = csv.field_size_limit(_LARGEST_FIELD)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            yield before + reader.line_num, {key: value for key, value in row.items() if isinstance(key, str)}
    except csv.Error as error:
        raise UserError(
            f"{name}: line {before + reader.line_num} is not CSV ({error}); expected closed quotation marks"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _json_lines(name: str, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            try:
                row = parse_json(content)
            except ValueError as error:
                raise UserError(
                    f"{name}: line {line} is not JSON; expected one object in each line"
                ) from error
            if not isinstance(row, dict):
                raise UserError(f"{name}: line {line} is not a JSON object; expected one in each line")
            yield line, row


class Files:
    """The files of a source by the paths in a table."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._by_name = {name.lower(): name for name in names}
        self._root = common_folder(names).lower()
        self._folders = {part for folders in set(map(folders_of, self._by_name)) for part in folders}
        self._by_file: dict[str, str | None] = {}  # None for a file name that is in several folders
        for name in names:
            file = name.lower().rpartition("/")[2]
            self._by_file[file] = None if file in self._by_file else name

    def find(self, path: str, folder: str = "") -> str:
        """Return the file of a path relative to a folder, such as that of the table, or to the root.

        A file name alone is found in any folder, if there is only one. Of an absolute path, which is that of
        another machine, the last folders or the file name are enough, unless the folder before them is
        another folder of this source or another split. Without a file the result is empty.

        Args:
            path: Path in any case; the separator may be a backslash.
            folder: Folder with `/` at its end.
        """
        if not path:
            return ""
        cleaned = str(PurePosixPath(composed(path).replace("\\", "/"))).lower()
        parts = cleaned.split("/")
        absolute = bool(_ABSOLUTE.match(cleaned))
        for start in range(1, len(parts)) if absolute else [0]:
            for place in (folder.lower(), "", self._root):
                found = self._by_name.get(place + "/".join(parts[start:]))
                if found and self._may_be(found, parts[:start]):
                    return found
        found = self._by_file.get(parts[-1]) if absolute or len(parts) == 1 else None
        return found if found and self._may_be(found, parts[:-1]) else ""

    def _may_be(self, file: str, before: Sequence[str]) -> bool:
        """Return whether no folder of a path before the part that it shares with a file is another one."""
        folders = folders_of(file.lower())
        if before and before[-1] in self._folders - {*folders}:
            return False
        splits = [next(filter(None, map(split_of, parts[::-1])), "") for parts in (folders, before)]
        return not all(splits) or splits[0] == splits[1]
