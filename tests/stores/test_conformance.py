"""What the project uses of S3, on each store: the calls of the library, and those of MLflow (boto3)."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.servers import forward_proxy
from tinyunet.core.errors import UserError
from tinyunet.storage import s3
from tinyunet.storage.lease import LeaseWatch, renewed_lease

PART = 5 * 2**20  # bytes of a part; larger files are uploaded in several
BINARY = {"Content-Type": "application/octet-stream"}
NAMES = [
    "plain.bin", "a b/c d.bin", "größe/ü.bin", "plus+and&and=.bin", "percent%20.bin", "quote'\"(1).bin",
    "~#;,@!.bin", "日本/語.bin", "deep/" * 12 + "end.bin", "n" * 200 + ".bin",
]  # fmt: skip


def client() -> Any:
    """Return a client like that of the MLflow server: boto3, with addresses by path."""
    settings = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    return boto3.Session().client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"], config=settings)


def split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def failure(call: Callable[[], object]) -> str:
    """Return the message of a call that must fail: one line."""
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_objects_are_written_read_replaced_and_removed(prefix: str) -> None:
    uri = f"{prefix}/object"
    assert not s3.exists(uri)
    for content in (b"first", b"", b"second, longer", bytes(range(256))):
        s3.write_bytes(uri, content)
        assert s3.read_bytes(uri) == content
        assert s3.exists(uri)
    s3.remove(uri)
    s3.remove(uri)
    assert not s3.exists(uri)
    assert s3.list_objects(prefix) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_object_keeps_its_name(name: str, prefix: str, tmp_path: Path) -> None:
    s3.write_bytes(f"{prefix}/{name}", name.encode())
    assert s3.list_objects(prefix) == [f"{prefix}/{name}"]
    assert s3.read_bytes(f"{prefix}/{name}") == name.encode()
    s3.fetch(prefix, tmp_path / "folder")
    assert (tmp_path / "folder" / name).read_bytes() == name.encode()


@pytest.mark.parametrize("size", [0, 1, PART, 2 * PART + 1])
def test_a_file_of_one_or_several_parts_comes_back_unchanged(size: int, prefix: str, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "up").write_bytes(content)
    s3.push(tmp_path / "up", f"{prefix}/file")
    assert s3.fetch(f"{prefix}/file", tmp_path / "down").read_bytes() == content


@pytest.mark.parametrize(("size", "end"), [(10, b"6789"), (4, b"6789"), (3, b"789")])
def test_the_end_of_an_object_is_read_without_its_start(size: int, end: bytes, prefix: str) -> None:
    content = b"0123456789"[-size:]
    s3.write_bytes(f"{prefix}/log", content)
    assert s3.read_end(f"{prefix}/log", 4) == (end, len(content))


def test_a_long_listing_is_complete_and_a_prefix_is_a_folder(prefix: str) -> None:
    """A store answers at most 1000 names at a time; `run` is a folder and not the start of `runs`."""
    names = [f"run/{number:04d}" for number in range(1003)]
    bucket, key = split(prefix)
    store = client()
    for name in [*names, "runs/other", "run-2"]:
        store.put_object(Bucket=bucket, Key=f"{key}/{name}", Body=b"")
    assert s3.list_objects(f"{prefix}/run") == [f"{prefix}/{name}" for name in names]


def test_a_write_is_seen_by_the_next_read_and_the_next_listing(prefix: str) -> None:
    for number in range(20):
        s3.write_bytes(f"{prefix}/step", str(number).encode())
        s3.write_bytes(f"{prefix}/step-{number}", b"")
        assert s3.read_bytes(f"{prefix}/step") == str(number).encode()
        assert len(s3.list_objects(prefix)) == number + 2


def test_a_reader_sees_the_old_or_the_new_object_while_it_is_replaced(prefix: str) -> None:
    uri, ended = f"{prefix}/checkpoint", threading.Event()
    contents = {bytes([number]) * 300_000 for number in (1, 2)}
    s3.write_bytes(uri, min(contents))

    def replace() -> None:
        while not ended.is_set():
            for content in contents:
                s3.write_bytes(uri, content)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        assert {s3.read_bytes(uri) for _ in range(30)} <= contents
    finally:
        ended.set()
        writer.join()


def test_missing_buckets_and_objects_are_named(prefix: str, tmp_path: Path) -> None:
    assert "no object of that name" in failure(lambda: s3.read_bytes(f"{prefix}/absent"))
    assert "no object of that name and none under it" in failure(
        lambda: s3.fetch(f"{prefix}/no", tmp_path / "x")
    )
    for call in (
        lambda: s3.write_bytes("s3://no-such-bucket/a", b""),
        lambda: s3.read_bytes("s3://no-such-bucket/a"),
        lambda: s3.list_objects("s3://no-such-bucket/a"),
        lambda: s3.fetch("s3://no-such-bucket/a", tmp_path / "x"),
    ):
        assert "no bucket of that name; create the bucket or correct the name" in failure(call)
    assert "no-such-bucket" not in s3.list_buckets()
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_is_made_once(prefix: str) -> None:
    bucket, _ = split(prefix)
    s3.write_bytes(f"{prefix}/kept", b"kept")
    s3.make_bucket(bucket)
    assert bucket in s3.list_buckets()
    assert s3.read_bytes(f"{prefix}/kept") == b"kept"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_wrong_key_is_refused_and_named(
    name: str, prefix: str, store: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if store["NAME"] == "moto":
        return  # it accepts any key, which is why it is no store for data
    monkeypatch.setenv(name, "wrong-wrong-wrong")
    message = failure(lambda: s3.write_bytes(f"{prefix}/a", b""))
    assert name in message
    assert "wrong-wrong-wrong" not in message


def test_a_lease_is_renewed_and_its_end_is_seen(prefix: str) -> None:
    with renewed_lease(f"{prefix}/lease", 1), LeaseWatch(f"{prefix}/lease", 1) as watch:
        time.sleep(2)
        assert not watch.expired
    with LeaseWatch(f"{prefix}/lease", 1) as watch:
        deadline = time.monotonic() + 120  # two requests for each of ten looks, on any machine
        while not watch.expired and time.monotonic() < deadline:
            time.sleep(0.05)
        assert watch.expired


def test_a_store_is_reached_through_a_proxy(
    prefix: str, store: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host of the signature is that of the store, and not that of the proxy."""
    monkeypatch.setattr("tinyunet.core.network.DIRECT_HOSTS", ())
    with forward_proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        s3.write_bytes(f"{prefix}/a b", b"through")
        assert s3.read_bytes(f"{prefix}/a b") == b"through"
        assert any(request.startswith("PUT http") for request in proxy.requests)


def test_mlflow_lists_folders_and_deletes_what_is_below_them(prefix: str) -> None:
    bucket, key = split(prefix)
    for name in ("a/1", "a/b/2", "c"):
        s3.write_bytes(f"{prefix}/{name}", b"x")
    found = client().list_objects_v2(Bucket=bucket, Prefix=f"{key}/", Delimiter="/")
    assert [one["Prefix"] for one in found["CommonPrefixes"]] == [f"{key}/a/"]
    assert [(one["Key"], one["Size"]) for one in found["Contents"]] == [(f"{key}/c", 1)]
    objects = [{"Key": f"{key}/{name}"} for name in ("a/1", "a/b/2")]
    client().delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert s3.list_objects(prefix) == [f"{prefix}/c"]


def test_mlflow_uploads_parts_and_clients_download_by_signed_addresses(prefix: str) -> None:
    bucket, key = split(f"{prefix}/model")
    store, names = client(), {"Bucket": bucket, "Key": key}
    upload = store.create_multipart_upload(**names)["UploadId"]
    parts, contents = [], [os.urandom(PART), b"the end"]
    for number, content in enumerate(contents, start=1):
        where = {**names, "UploadId": upload, "PartNumber": number}
        url = store.generate_presigned_url("upload_part", Params=where)
        with urlopen(Request(url, content, BINARY, method="PUT"), timeout=30) as answer:
            parts.append({"PartNumber": number, "ETag": answer.headers["ETag"]})
    store.complete_multipart_upload(**names, UploadId=upload, MultipartUpload={"Parts": parts})
    url = store.generate_presigned_url("get_object", Params=names)
    with urlopen(Request(url, headers={"Range": f"bytes={PART - 2}-{PART + 2}"}), timeout=30) as answer:
        assert answer.status == 206
        assert answer.read() == contents[0][-2:] + b"the"
    assert store.head_object(**names)["ContentLength"] == PART + len(b"the end")
    with pytest.raises(ClientError, match="404"):
        store.head_object(Bucket=bucket, Key=f"{key}-absent")


def test_parts_of_an_upload_that_was_given_up_are_no_object(prefix: str) -> None:
    bucket, key = split(f"{prefix}/model")
    store, names = client(), {"Bucket": bucket, "Key": key}
    upload = store.create_multipart_upload(**names)["UploadId"]
    store.upload_part(**names, UploadId=upload, PartNumber=1, Body=b"x")
    assert s3.list_objects(prefix) == []
    assert not s3.exists(f"{prefix}/model")
    store.abort_multipart_upload(**names, UploadId=upload)
