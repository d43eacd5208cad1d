import json
from pathlib import Path

import pytest

from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.existing import renew
from tinyunet.data.ingest import ingest


def test_another_dataset_is_not_overwritten(class1: Path, tmp_path: Path) -> None:
    ingest("synthetic://?train=4&test=4&size=32", tmp_path / "out", category="class2")
    with pytest.raises(UserError, match="out holds other content"):
        ingest(str(class1), tmp_path / "out", category="class1")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["category"] == "class2"


def test_a_folder_with_other_files_is_not_overwritten(class1: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("text")
    with pytest.raises(UserError, match="out exists and is not an output of this command"):
        ingest(str(class1), tmp_path / "out", category="class1")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "text"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_output_folder_is_used(class1: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    ingest(str(class1), tmp_path / "out", category="class1")
    assert (tmp_path / "out" / "dataset.json").is_file()


def test_a_manifest_that_says_something_else_is_written_again(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = RecordsManifest.read(records)
    manifest.write(tmp_path)
    assert renew(tmp_path, manifest) == manifest
    assert "already holds these records" in capsys.readouterr().err
    other = manifest.model_copy(update={"dataset": "line-7", "validation_fraction": 0.2})
    assert renew(tmp_path, other) == RecordsManifest.read(tmp_path) == other
    assert "manifest.json now says dataset='line-7', validation_fraction=0.2" in capsys.readouterr().err
