"""A document is written completely, and read with one line for a file that does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tinyunet.core.documents.base import parse_json
from tinyunet.core.documents.records import RecordsManifest, Shard
from tinyunet.core.errors import UserError


def content(records: Path) -> dict[str, Any]:
    return dict(json.loads((records / "manifest.json").read_text()))


def write(folder: Path, values: object) -> Path:
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder


def test_what_is_written_is_what_is_read_and_the_other_way_round(records: Path, tmp_path: Path) -> None:
    manifest = RecordsManifest.read(records)
    manifest.write(tmp_path)
    assert RecordsManifest.read(tmp_path) == manifest
    assert (tmp_path / "manifest.json").read_bytes() == (records / "manifest.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_document_cannot_be_changed(records: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RecordsManifest.read(records).fold = 3


def test_an_unknown_key_is_refused_on_writing_and_ignored_on_reading(records: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Shard(file="a", images=1, bytes=1, sha256="", colour="red")  # type: ignore[call-arg]
    values = content(records)
    values["newer"] = values["splits"]["train"]["shards"][0]["newer"] = 1
    assert RecordsManifest.read(write(tmp_path, values)) == RecordsManifest.read(records)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fold", "two", "manifest.json: fold is 'two'; expected an int; convert again"),
        ("complete", 1, "complete is 1; expected a bool"),
        ("image_shape", 64, "image_shape is 64; expected a list"),
        ("splits", [], r"splits is \[\]; expected an object"),
        ("digest", None, "digest is None; expected a str"),
        ("schema_version", 2, "has schema 2, expected 1; convert again"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_with_file_key_value_and_expectation(
    records: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        RecordsManifest.read(write(tmp_path, content(records) | {key: value}))
    assert "\n" not in str(error.value)


def test_a_fault_inside_a_document_is_named_by_its_whole_path(records: Path, tmp_path: Path) -> None:
    values = content(records)
    values["splits"]["test"]["shards"][1]["bytes"] = "many"
    with pytest.raises(UserError, match=r"splits\.test\.shards\.1\.bytes is 'many'; expected an int"):
        RecordsManifest.read(write(tmp_path, values))


def test_a_missing_key_names_the_command_that_writes_the_file(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((raw / "dataset.json").read_bytes())
    with pytest.raises(UserError, match="source_digest is missing; expected a file that `tinyunet convert`"):
        RecordsManifest.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"{", "is not JSON"), (b"\xff", "is not JSON"), (b"[1]", "holds a list, expected an object")],
)
def test_what_is_no_document_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(UserError, match=message):
        RecordsManifest.read(tmp_path)


def test_a_folder_without_the_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds no manifest\.json; expected a folder that `tinyunet convert` wrote"
    ):
        RecordsManifest.read(tmp_path)


def test_a_text_of_any_unicode_encoding_is_read() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json('{"part": "Prüfling"}'.encode(encoding)) == {"part": "Prüfling"}


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe\xfa", "[" * 100_000, '{"a":' * 100_000])
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|codec|too deeply"):
        parse_json(text)
