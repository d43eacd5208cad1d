"""Objects on a real MinIO: round trips, parallel transfers, and the message of every refusal."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.conftest import upload
from tinyunet.core.errors import UserError
from tinyunet.devtools import services
from tinyunet.devtools.processes import Service, ensure_running, free_port, running_process, terminate
from tinyunet.storage import s3


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def make_tree(root: Path, count: int) -> dict[str, bytes]:
    for i in range(count):
        path = root / f"part{i % 3}" / f"{i:03d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([i % 256]) * (1000 + i))
    return tree(root)


def failure(call: Callable[[], object]) -> str:
    """Return the message of a call that must fail: one line, after at most 15 s."""
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        call()
    assert time.monotonic() - start < 15
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_downloaded_with_the_uploaded_bytes(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x00\xff" * 5000)
    s3.push(tmp_path / "a.bin", f"{prefix}/b.bin")
    downloaded = s3.fetch(f"{prefix}/b.bin", tmp_path / "c.bin")
    assert downloaded == tmp_path / "c.bin"
    assert downloaded.read_bytes() == b"\x00\xff" * 5000


def test_a_folder_is_downloaded_completely_with_parallel_transfers(prefix: str, tmp_path: Path) -> None:
    expected = make_tree(tmp_path / "there", 60)
    upload(tmp_path / "there", prefix)
    assert s3.list_objects(prefix) == sorted(f"{prefix}/{name}" for name in expected)
    workers, done = set(), threading.Event()
    others = {thread.name for thread in threading.enumerate()}

    def watch() -> None:
        while not done.wait(0.002):
            workers.update(t.name for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    downloaded = s3.fetch(prefix, tmp_path / "back")
    done.set()
    watcher.join()
    assert tree(downloaded) == expected
    assert len(workers - others) == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "there"]


def test_a_prefix_matches_a_folder_and_not_the_start_of_other_names(prefix: str, tmp_path: Path) -> None:
    s3.write_bytes(f"{prefix}/ab/x", b"1")
    s3.write_bytes(f"{prefix}/abc/y", b"2")
    assert s3.list_objects(f"{prefix}/ab") == [f"{prefix}/ab/x"]
    assert tree(s3.fetch(f"{prefix}/ab", tmp_path / "ab")) == {"x": b"1"}


def test_bytes_are_written_read_replaced_and_removed(prefix: str) -> None:
    uri = f"{prefix}/state"
    assert not s3.exists(uri)
    s3.write_bytes(uri, b"old")
    s3.write_bytes(uri, b"new")
    assert s3.exists(uri)
    assert s3.read_bytes(uri) == b"new"
    s3.remove(uri)
    s3.remove(uri)
    assert not s3.exists(uri)


def test_list_buckets_returns_the_buckets_of_the_endpoint() -> None:
    assert s3.list_buckets() == ["mlflow", "tinyunet"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://tinyunet/absent/key", "no object of that name and none under it"),
        ("s3://absent-bucket/key", "no bucket of that name"),
        ("s3://tinyunet/a/../../secret", "'.' or '..' in its name"),
        ("s3://Bad_Bucket/key", "expected s3://bucket/key"),
    ],
)
def test_a_missing_object_is_named_and_nothing_is_written(uri: str, words: str, tmp_path: Path) -> None:
    message = failure(lambda: s3.fetch(uri, tmp_path / "x"))
    assert uri in message
    assert words in message
    assert list(tmp_path.iterdir()) == []


def test_reading_a_missing_object_is_refused(prefix: str) -> None:
    assert "no object of that name" in failure(lambda: s3.read_bytes(f"{prefix}/none"))


def test_uploading_a_missing_file_is_refused(prefix: str, tmp_path: Path) -> None:
    assert "No such file" in failure(lambda: s3.push(tmp_path / "none", f"{prefix}/x"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "AWS_SECRET_ACCESS_KEY does not belong to"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "the endpoint does not know AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY not set"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set",
        ),
        ({"S3_ENDPOINT_URL": ""}, "S3_ENDPOINT_URL is ''"),
        ({"S3_ENDPOINT_URL": "127.0.0.1:9000"}, "expected http(s)://host[:port]"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "the endpoint does not answer"),
        ({"S3_ENDPOINT_URL": "http://no-such-host.invalid:9000"}, "the endpoint does not answer"),
    ],
)
def test_wrong_settings_are_named_in_one_line(
    changes: dict[str, str], words: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    for call in (
        lambda: s3.fetch(f"{prefix}/x", tmp_path / "x"),
        lambda: s3.list_objects(prefix),
        s3.list_buckets,
    ):
        message = failure(call)
        assert words in message
        assert "wrong-secret" not in message
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_that_is_not_an_s3_server_is_recognised(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", os.environ["MLFLOW_TRACKING_URI"])
    assert "the answer is not that of an S3 server" in failure(lambda: s3.list_objects(prefix))


@pytest.fixture
def european(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A second MinIO server, which accepts signatures for eu-central-1 only."""
    port, folder = free_port(), tmp_path / "europe"
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    region = services._minio_env(os.environ) | {"MINIO_SITE_REGION": "eu-central-1"}
    command = services._minio_command(folder, port)
    ensure_running(folder, Service("minio", url, "/minio/health/ready", 30), lambda: command, region)
    monkeypatch.setenv("S3_ENDPOINT_URL", url)
    yield
    if process := running_process(folder, "minio"):
        terminate(process)


@pytest.mark.usefixtures("european")
def test_a_store_in_another_region_needs_the_name_of_its_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    s3.make_bucket("here")
    expected = make_tree(tmp_path / "there", 3)
    upload(tmp_path / "there", "s3://here/x")
    assert tree(s3.fetch("s3://here/x", tmp_path / "back")) == expected
    for calls in (lambda: s3.exists("s3://here/x"), lambda: s3.list_objects("s3://here/x")):
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        message = failure(calls)
        assert "region" in message
        assert "eu-central-1" in message
        assert message.endswith("set AWS_DEFAULT_REGION to the store's region")


def test_an_empty_region_means_the_default_region(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    s3.write_bytes(f"{prefix}/x", b"1")
    assert s3._client()._base_url.region == "us-east-1"
