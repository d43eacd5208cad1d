"""Training with records, checkpoints and model on a real MinIO, also with a kill and a resumption."""

import json
import os
import subprocess
import time
from itertools import takewhile
from pathlib import Path

import pytest

from tests.services.conftest import upload
from tests.services.proxy import Proxy
from tinyunet.core.errors import UserError
from tinyunet.storage import s3
from tinyunet.training.distributed import World
from tinyunet.training.inputs import local_records
from tinyunet.training.model_folder import finished_model

SETTINGS = (
    "steps=12",
    "image_size=32",
    "precision=float32",
    "global_batch=4",
    "checkpoint_every=3",
    "deterministic=true",
)


@pytest.fixture
def remote_records(records: Path, prefix: str) -> str:
    upload(records, f"{prefix}/records")
    return f"{prefix}/records"


def command(python: str, records: str, out: str, *more: str) -> list[str]:
    settings = [part for s in SETTINGS for part in ("--set", s)]
    return [python, "-m", "tinyunet", "train", records, "--out", out, *settings, *more]


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def digest(out: str) -> str:
    return str(json.loads(s3.read_bytes(f"{out}/model.json"))["weights_digest"])


def test_a_killed_training_resumes_from_s3_to_the_same_weights(
    remote_records: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    uninterrupted, out = f"{prefix}/uninterrupted", f"{prefix}/model"
    result = run(command(python, remote_records, uninterrupted), tmp_path)
    assert result.returncode == 0, result.stderr
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
    assert digest(out) == digest(uninterrupted)
    assert {Path(key).name for key in s3.list_objects(out)} == {
        "model.keras",
        "model.json",
        "history.csv",
    }
    assert s3.list_objects(f"{out}.checkpoints") == [], "the model replaces its checkpoints"
    assert list(scratch.glob("*records*")) == [], "the local copy of the records is removed"


def test_an_outage_of_the_store_loses_checkpoints_but_not_the_training(
    remote_records: str, prefix: str, tmp_path: Path, python: str
) -> None:
    proxy, out = Proxy(os.environ["S3_ENDPOINT_URL"]), f"{prefix}/model"
    process = subprocess.Popen(
        command(python, remote_records, out),
        env={**os.environ, "S3_ENDPOINT_URL": proxy.url},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for(f"{out}.checkpoints/step-00000003.npz", process)
    proxy.stop()
    assert process.stdout
    lines = list(takewhile(lambda line: "trying again for 3600 s" not in line, process.stdout))
    assert any("warning: no checkpoint of step " in line for line in lines), lines
    proxy.resume()
    rest, _ = process.communicate(timeout=120)
    proxy.close()
    assert process.returncode == 0, rest
    assert digest(out)
    assert s3.list_objects(f"{out}.checkpoints") == []


def test_only_the_splits_of_a_training_are_fetched_with_their_indexes(
    remote_records: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with local_records(remote_records, World(), category="class1", run_key="fetch") as folder:
        assert folder.parent == tmp_path
        shards = {path.name for path in folder.glob("*.tfrecord")}
        assert {path.name for path in folder.glob("*.index.json")} == {f"{n}.index.json" for n in shards}
    names = {name.split("-")[0] for name in shards}
    assert names == {"train", "validation"}
    assert list(tmp_path.iterdir()) == [], "the local copy is removed"


def test_a_changed_shard_is_refused_with_its_name_and_its_copy_is_removed(
    records: Path, remote_records: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shard = sorted(records.glob("train*.tfrecord"))[0]
    s3.write_bytes(f"{remote_records}/{shard.name}", shard.read_bytes()[:-1] + b"x")
    copy = local_records(remote_records, World(), category="class1", run_key="changed")
    with pytest.raises(UserError, match=rf"{shard.name} has SHA-256 .*expected"), copy:
        pytest.fail("the records were accepted")
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
