"""The model folder: its content, and folders that are not model folders."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.training.model_folder import COLUMNS, finished_model, read_model


def test_the_document_describes_training_and_data(model: Path, records: Path) -> None:
    document, manifest = read_model(model), RecordsManifest.read(records)
    assert (document.steps, document.image_size, document.precision) == (12, 64, "float32")
    assert document.data.digest == manifest.digest
    assert document.data.validation_digest == manifest.splits["validation"].digest
    assert document.identity["data"] == manifest.digest
    assert finished_model(str(model)) == document


def test_the_figures_are_those_of_the_history(model: Path) -> None:
    with (model / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    rates = sorted(float(row["images_per_s"]) for row in rows)
    figures = read_model(model).training
    assert figures.images_per_s == pytest.approx(rates[6])
    assert figures.seconds == pytest.approx(sum(8 / rate for rate in rates))
    assert figures.final_loss == pytest.approx(float(rows[-1]["loss"]))
    assert figures.validation_dice == pytest.approx(float(rows[-1]["validation_dice"]))


def test_a_missing_or_empty_folder_has_no_finished_model(tmp_path: Path) -> None:
    assert finished_model(str(tmp_path / "absent")) is None
    assert finished_model(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("notes.txt", "", "exists and holds no model; expected a new or empty folder"),
        ("model.json", "no JSON", r"no complete model of tinyunet \(it has no model.keras\); choose"),
    ],
)
def test_a_folder_with_something_else_is_an_error(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=reason):
        finished_model(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steps": "many"}, r"\(model.json: steps is 'many'; expected an int\); choose another --out"),
        ({"schema_version": 2}, r"\(model.json has schema 2, expected 1\); choose another --out"),
    ],
)
def test_a_model_json_that_does_not_fit_is_one_line(
    change: dict[str, object], reason: str, model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    content = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=reason):
        finished_model(str(copy))


def test_a_folder_without_a_keras_file_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model\.keras; expected a folder that `tinyunet train`"):
        read_model(tmp_path)
