"""Training with records, checkpoints and model on a real MinIO, also with a kill and a resumption."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.services.conftest import train_command, upload
from tinyunet.core.errors import UserError
from tinyunet.storage import s3
from tinyunet.training.distributed import World
from tinyunet.training.inputs import LocalRecords, local_records
from tinyunet.training.model_folder import finished_model
from tinyunet.training.run import TrainingRun


@pytest.fixture
def remote_records(records: Path, prefix: str) -> str:
    upload(records, f"{prefix}/records")
    return f"{prefix}/records"


def change_shard(records: Path, uri: str, split: str) -> str:
    """Change the last byte of a shard on S3; return its name."""
    shard = sorted(records.glob(f"{split}*.tfrecord"))[0]
    s3.write_bytes(f"{uri}/{shard.name}", shard.read_bytes()[:-1] + b"x")
    return shard.name


def opened(records: LocalRecords) -> LocalRecords:
    for split in ("train", "validation"):
        records.split(split, 0)
    return records


def command(python: str, records: str, out: str, *more: str) -> list[str]:
    return train_command(python, records, out, "--set", "checkpoint_every=3", *more)


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def digest(out: str) -> str:
    return str(json.loads(s3.read_bytes(f"{out}/model.json"))["weights_digest"])


def test_a_killed_training_resumes_from_s3_to_the_same_weights(
    remote_records: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str,
    undisturbed_digest: str,
) -> None:  # fmt: skip
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    out = f"{prefix}/model"
    process = subprocess.Popen(
        command(python, remote_records, out),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for(f"{out}.checkpoints/step-00000003.npz", process)
    process.kill()
    process.communicate(timeout=60)
    assert not s3.exists(f"{out}/model.json")
    resumed = run(command(python, remote_records, out), tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "steps 0 to" not in resumed.stdout, "the training must resume, not start over"
    assert digest(out) == undisturbed_digest
    assert {Path(key).name for key in s3.list_objects(out)} == {
        "model.keras",
        "model.json",
        "history.csv",
    }
    assert s3.list_objects(f"{out}.checkpoints") == [], "the model replaces its checkpoints"
    assert list(scratch.glob("*records*")) == [], "the local copy of the records is removed"


def test_only_the_splits_of_a_training_are_fetched_with_their_indexes(
    remote_records: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with local_records(TrainingRun(records=remote_records, out="model"), World()) as records:
        folder = opened(records).folder
        assert folder.parent == tmp_path
        shards = {path.name for path in folder.glob("*.tfrecord")}
        assert {path.name for path in folder.glob("*.index.json")} == {f"{n}.index.json" for n in shards}
    names = {name.split("-")[0] for name in shards}
    assert names == {"train", "validation"}
    assert list(tmp_path.iterdir()) == [], "the local copy is removed"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_changed_shard_is_refused_with_its_name_and_its_copy_is_removed(
    split: str, records: Path, remote_records: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shard = change_shard(records, remote_records, split)
    copy = local_records(TrainingRun(records=remote_records, out="model"), World())
    with pytest.raises(UserError, match=rf"{shard} has SHA-256 .*expected"), copy as changed:
        opened(changed)
    assert list(tmp_path.iterdir()) == []


def test_missing_records_are_reported_in_one_line_and_exit_with_2(
    prefix: str, tmp_path: Path, python: str
) -> None:
    result = run(command(python, f"{prefix}/nothing", f"{prefix}/model"), tmp_path)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert s3.list_objects(f"{prefix}/model") == []


@pytest.mark.parametrize("text", [b"no JSON", b"[1]", b"{}"])
def test_a_model_that_is_none_of_ours_is_refused_and_stays(prefix: str, text: bytes) -> None:
    s3.write_bytes(f"{prefix}/model/model.json", text)
    with pytest.raises(UserError, match=f"{prefix}/model holds no complete model of tinyunet"):
        finished_model(f"{prefix}/model")
    assert s3.read_bytes(f"{prefix}/model/model.json") == text


def wait_for(uri: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not s3.exists(uri):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{uri} did not appear"
        time.sleep(0.05)
