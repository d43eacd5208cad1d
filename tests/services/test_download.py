"""Records on a real MinIO are downloaded in the background, while a training prepares its first step."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services.conftest import upload
from tests.services.proxy import Proxy
from tests.services.test_training_s3 import change_shard, command, digest, run
from tinyunet.cli.main import main
from tinyunet.core.config import TrainConfig
from tinyunet.core.stopping import STOP_SIGNAL
from tinyunet.tracking.tracker import NullTracker
from tinyunet.training.distributed import World
from tinyunet.training.download import RecordsDownload, scratch_folder
from tinyunet.training.inputs import local_records
from tinyunet.training.loop import train
from tinyunet.training.run import TrainingRun

SMALL = {"image_size": 32, "steps": 3, "global_batch": 4, "precision": "float32"}
OPTIONS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def remote_records(records: Path, prefix: str) -> str:
    upload(records, f"{prefix}/records")
    return f"{prefix}/records"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def holding(
    request: pytest.FixtureRequest, remote_records: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    """The store, which does not answer requests for the shards of a split; the parameter is the split."""
    proxy = Proxy(os.environ["S3_ENDPOINT_URL"], held=f"/{request.param}-")
    monkeypatch.setenv("S3_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.close()


@pytest.fixture
def tinyunet(eager: None) -> Iterator[Callable[..., int]]:
    """The command line in this process, whose signal handlers are restored."""
    previous = {number: signal.getsignal(number) for number in (STOP_SIGNAL, signal.SIGINT)}
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell may start the tests with SIGINT ignored
    yield lambda *arguments: main(arguments)
    for number, handler in previous.items():
        signal.signal(number, handler)


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "this did not happen"
        time.sleep(0.02)


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of stderr without the progress of the download, which a slow machine prints."""
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("download ")]


def test_the_records_arrive_while_tensorflow_is_imported(
    remote_records: str, prefix: str, scratch: Path, tinyunet: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def import_slowly() -> None:
        wait_until(lambda: list(scratch.glob("*-records/validation-00001-*.tfrecord")))
        raise KeyboardInterrupt

    monkeypatch.setattr("tinyunet.cli.training.import_tensorflow", import_slowly)
    assert tinyunet("train", remote_records, "--out", f"{prefix}/model") == 130
    assert list(scratch.iterdir()) == [], "the local copy is removed"


@pytest.mark.parametrize("holding", ["validation"], indirect=True)
@pytest.mark.usefixtures("eager")
def test_a_training_takes_its_steps_before_the_validation_images_arrive(
    holding: Proxy, remote_records: str, scratch: Path, tmp_path: Path
) -> None:
    logged: list[Mapping[str, float]] = []

    class Releasing(NullTracker):
        """Has the validation images sent after the last step."""

        def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
            logged.extend(rows)
            if rows[-1]["step"] == SMALL["steps"] and "loss" in rows[-1]:
                assert not list(scratch.glob("*-records/validation-*.tfrecord"))
                holding.release()

    task = TrainingRun(records=remote_records, out=str(tmp_path / "model"), config=TrainConfig(**SMALL))
    with local_records(task, World()) as records:
        document = train(task, World(), Releasing(), records)
    assert [row["step"] for row in logged if "loss" in row] == [1, 2, 3]
    assert document.training.validation_dice >= 0
    assert list(scratch.glob("*-records*")) == []


@pytest.mark.parametrize("holding", ["validation"], indirect=True)
@pytest.mark.usefixtures("eager", "scratch")
def test_a_checkpoint_is_saved_before_a_training_waits_for_the_validation_images(
    holding: Proxy, remote_records: str, tmp_path: Path
) -> None:
    config = TrainConfig(**SMALL).replace({"validate_every": 2, "checkpoint_every": 100})
    task = TrainingRun(records=remote_records, out=str(tmp_path / "model"), config=config)
    found: list[str] = []

    def release() -> None:
        with suppress(AssertionError):
            wait_until(lambda: list(Path(task.checkpoint_location).glob("step-*")))
        found.extend(path.name for path in Path(task.checkpoint_location).glob("step-*"))
        holding.release()

    waiting = threading.Thread(target=release)
    waiting.start()
    with local_records(task, World()) as records:
        train(task, World(), NullTracker(), records)
    waiting.join()
    assert all(name.startswith("step-00000002.npz") for name in found), found
    assert found


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.usefixtures("scratch")
def test_a_changed_shard_ends_a_training_with_one_line(
    split: str, records: Path, remote_records: str, prefix: str, tinyunet: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shard = change_shard(records, remote_records, split)
    assert tinyunet("train", remote_records, "--out", f"{prefix}/model", *OPTIONS) == 2
    (line,) = errors(capsys)
    assert line.startswith(f"tinyunet: error: {remote_records}/{shard} has SHA-256 ")


@pytest.mark.parametrize("holding", ["train"], indirect=True)
def test_ctrl_c_ends_a_training_that_waits_for_its_images(
    holding: Proxy, remote_records: str, prefix: str, scratch: Path, tinyunet: Callable[..., int],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    waiting, wait = threading.Event(), RecordsDownload.wait

    def announced(download: RecordsDownload, split: str) -> None:
        waiting.set()
        wait(download, split)

    def interrupt() -> None:
        waiting.wait(60)
        os.kill(os.getpid(), signal.SIGINT)
        holding.release()

    monkeypatch.setattr(RecordsDownload, "wait", announced)
    threading.Thread(target=interrupt).start()
    assert tinyunet("train", remote_records, "--out", f"{prefix}/model", *OPTIONS) == 130
    assert errors(capsys) == ["tinyunet: interrupted"]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("holding", ["train"], indirect=True)
def test_the_end_of_a_training_cancels_its_download(
    holding: Proxy, remote_records: str, scratch: Path
) -> None:
    """The transfer that is waiting ends without its shard, and the other split is not requested."""
    task = TrainingRun(records=remote_records, out="model")
    with RecordsDownload(remote_records, scratch_folder(task)) as download:
        assert download.found()
        download.check()
        download._cancelled.set()
        holding.release()
    assert not any("/validation-" in line for line in holding.requests)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("holding", ["none"], indirect=True)
def test_the_ranks_of_a_host_share_one_download_and_have_the_weights_of_one_rank_with_local_records(
    holding: Proxy, remote_records: str, prefix: str, tmp_path: Path, scratch: Path, python: str,
    undisturbed_digest: str,
) -> None:  # fmt: skip
    out = f"{prefix}/model"
    ranks = run(command(python, remote_records, out, "--ranks", "2"), tmp_path)
    assert ranks.returncode == 0, ranks.stdout + ranks.stderr
    assert digest(out) == undisturbed_digest
    shards = [line for line in holding.requests if line.startswith("GET ") and ".tfrecord HTTP" in line]
    assert len(shards) == len(set(shards)) == 4, "two shards of train and two of validation"
    assert list(scratch.glob("*-records*")) == []
