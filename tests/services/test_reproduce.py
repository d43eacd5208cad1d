"""`tinyunet reproduce`: the training of a run on the MLflow server is repeated and compared."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tinyunet.core.config import DataConfig
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.errors import UserError
from tinyunet.data.tfrecord import convert
from tinyunet.studies.reproduce import compare, configuration, reproduce
from tinyunet.tracking.client import read_run


def tinyunet(python: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "tinyunet", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def run_id(undisturbed: Path) -> str:
    """Id of a deterministic run on the server."""
    reference = ModelDocument.read(undisturbed).mlflow
    assert reference
    return reference.run_id


def test_a_deterministic_run_is_reproduced_bit_for_bit(
    run_id: str, records: Path, tmp_path: Path, python: str
) -> None:
    result = tinyunet(python, tmp_path, "reproduce", run_id, records, "--out", "second")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "the weights are identical, bit for bit"
    second = json.loads((tmp_path / "second" / "model.json").read_text())
    assert second["mlflow"]["run_id"] != run_id, "the second training has its own run"
    assert second["train"] == configuration(read_run(run_id)).to_dict()
    assert (second["seed"], second["train"]["learning_rate"]) == (5, 0.002)


def test_different_weights_are_unexpected_only_for_deterministic_runs_of_the_same_code(run_id: str) -> None:
    first = read_run(run_id)
    second = replace(first, tags={**first.tags, "weights_digest": "0" * 64})
    not_deterministic = replace(first, params={**first.params, "deterministic": "False"})
    without_digest = replace(first, tags={"data_digest": "0"})
    assert compare(first, first, same_code=True).identical
    assert compare(without_digest, second, same_code=True).identical is None
    assert compare(first, second, same_code=True).expected
    assert not compare(first, second, same_code=True).identical
    assert not compare(first, second, same_code=False).expected
    assert not compare(not_deterministic, second, same_code=True).expected
    assert compare(first, second, same_code=True).scores["loss"][0] == first.metrics["loss"]


def test_other_records_are_refused(run_id: str, raw: Path, tmp_path: Path) -> None:
    convert(raw, tmp_path / "others", DataConfig(shards=1))
    with pytest.raises(UserError, match=r"others has digest .*; use the same records"):
        reproduce(run_id, tmp_path / "others", str(tmp_path / "second"))
    assert not (tmp_path / "second").exists()


def test_the_folder_of_a_finished_model_is_refused(run_id: str, undisturbed: Path, records: Path) -> None:
    with pytest.raises(UserError, match="already holds a model"):
        reproduce(run_id, records, str(undisturbed))


def test_an_unknown_run_is_reported_in_one_line(records: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0123456789abcdef") as caught:
        reproduce("0123456789abcdef", records, str(tmp_path / "second"))
    assert "\n" not in str(caught.value)
