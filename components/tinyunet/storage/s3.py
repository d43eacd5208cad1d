"""Objects on S3 (any endpoint: MinIO, AWS) and downloads by https: the only import of minio.

Environment, read when a call needs it: `S3_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`, `AWS_REGION` or `AWS_DEFAULT_REGION` (default us-east-1), `TINYUNET_ALLOW_HTTP`.
Files appear whole or not at all, and every failure ends in one `UserError` within a bounded time.
"""

import io
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.files import atomic_path, require_space
from tinyunet.core.redaction import redact
from tinyunet.storage.https import download
from tinyunet.storage.transfer import THREADS, Transfer, run_concurrently, safe_target, split_uri

CONNECT_S, READ_S, RETRIES, BUSY = 4.0, 60.0, 2, (429, 500, 502, 503, 504)
_MISSING = {"NoSuchKey", "NoSuchVersion", "NoSuchObject", "ResourceNotFound", "XMinioInvalidObjectName"}
_REMEDY = {
    "NoSuchBucket": "no bucket of that name; create it or correct the name",
    "AccessDenied": "access denied; AWS_ACCESS_KEY_ID needs the right to do this",
    "InvalidAccessKeyId": "the endpoint does not know this AWS_ACCESS_KEY_ID; correct it",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not fit AWS_ACCESS_KEY_ID; correct it",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
} | dict.fromkeys(_MISSING, "no object of that name; correct it")


def is_remote(location: str) -> bool:
    """Whether a location is an object-store URI."""
    return location.startswith("s3://")


def fetch(uri: str, dest: Path) -> Path:
    """Download an object, everything under a prefix, or a file by https.

    Args:
        uri: s3://bucket/key, s3://bucket/prefix or https://host/file (http only from this machine).
        dest: The file to write or, of a prefix, the folder to make.

    Returns:
        `dest`.

    Raises:
        UserError: if it cannot be reached, found or read; nothing half-written stays.
    """
    if uri.startswith(("https://", "http://")):
        return download(uri, dest)
    bucket, key = split_uri(uri)
    with _explained(uri):
        if key and not key.endswith("/") and (size := _size(bucket, key)) is not None:
            _fetch_object(bucket, key, size, dest)
        else:
            _fetch_prefix(bucket, key, dest, uri)
    return dest


def push(path: Path, uri: str) -> None:
    """Upload a file.

    Raises:
        UserError: if the path is missing or the endpoint refuses.
    """
    bucket, key = split_uri(uri)
    with _explained(uri):
        size = path.stat().st_size
        with Transfer(f"upload {uri}", size) as transfer:
            _client().fput_object(bucket, key, str(path), num_parallel_uploads=1)
            transfer.advance(size)


def exists(uri: str) -> bool:
    """Whether an object of exactly this name exists."""
    bucket, key = split_uri(uri)
    with _explained(uri):
        return _size(bucket, key) is not None


def list_objects(uri: str) -> list[str]:
    """List the URIs of all objects under a prefix (taken as a folder), sorted."""
    bucket, key = split_uri(uri)
    with _explained(uri):
        return [f"s3://{bucket}/{name}" for name, _ in _listing(bucket, key)]


def read_bytes(uri: str) -> bytes:
    """Read an object whole."""
    bucket, key = split_uri(uri)
    with _explained(uri), closing(_client().get_object(bucket, key)) as response:
        return bytes(response.read())


def write_bytes(uri: str, data: bytes) -> None:
    """Write an object whole; readers see the old one or the new one."""
    bucket, key = split_uri(uri)
    with _explained(uri):
        _client().put_object(bucket, key, io.BytesIO(data), len(data))


def remove(uri: str) -> None:
    """Delete an object; it may be gone already."""
    bucket, key = split_uri(uri)
    with _explained(uri):
        _client().remove_object(bucket, key)


def make_bucket(name: str) -> None:
    """Make a bucket; it may be there already."""
    with _explained(f"s3://{name}"):
        client = _client()
        if not client.bucket_exists(name):
            client.make_bucket(name)


def list_buckets() -> list[str]:
    """Give the names of the endpoint's buckets, as proof that it answers and takes the credentials."""
    with _explained("the endpoint"):
        return [bucket.name for bucket in _client().list_buckets()]


def _client() -> Minio:
    url = os.environ.get("S3_ENDPOINT_URL", "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise UserError(
            f"S3_ENDPOINT_URL is {redact(url)!r}; expected http(s)://host[:port], of MinIO or another S3"
        )
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if unset := [name for name in names if not os.environ.get(name)]:
        raise UserError(f"{' and '.join(unset)} not set; S3 needs {' and '.join(names)} in the environment")
    return Minio(
        parts.netloc,
        access_key=os.environ[names[0]],
        secret_key=os.environ[names[1]],
        session_token=os.environ.get("AWS_SESSION_TOKEN") or None,
        secure=parts.scheme == "https",
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
            maxsize=THREADS,  # a connection for each
            retries=urllib3.Retry(RETRIES, connect=1, backoff_factor=0.3, status_forcelist=BUSY),
        ),
    )


def _size(bucket: str, key: str) -> int | None:
    """Give the size of an object in bytes, None if there is none of that name."""
    try:
        return _client().stat_object(bucket, key).size or 0
    except S3Error as error:
        if error.code == "AccessDenied":  # the answer to HEAD has no body; the one to GET tells the reason
            _client().get_object(bucket, key).close()
        if error.code not in _MISSING:
            raise
        return None


def _listing(bucket: str, key: str) -> list[tuple[str, int]]:
    found = _client().list_objects(bucket, prefix=key and key.rstrip("/") + "/", recursive=True)
    return sorted((str(o.object_name), o.size or 0) for o in found if not str(o.object_name).endswith("/"))


def _fetch_object(bucket: str, key: str, size: int, dest: Path) -> None:
    require_space(dest, size)
    with Transfer(f"download s3://{bucket}/{key}", size) as transfer, atomic_path(dest) as part:
        _download(_client(), bucket, key, part)
        transfer.advance(size)


def _fetch_prefix(bucket: str, key: str, dest: Path, uri: str) -> None:
    objects = _listing(bucket, key)
    if not objects:
        raise UserError(
            f"{redact(uri)}: no object of that name and none under it; expected an object or a prefix"
        )
    base, total = len(key.rstrip("/") + "/") if key else 0, sum(size for _, size in objects)
    require_space(dest, total)
    with Transfer(f"download {uri}", total) as transfer, atomic_path(dest) as part:
        client, targets = _client(), {name: safe_target(part, name[base:]) for name, _ in objects}

        def get(item: tuple[str, int]) -> None:
            name, size = item
            targets[name].parent.mkdir(parents=True, exist_ok=True)
            _download(client, bucket, name, targets[name])
            transfer.advance(size)

        part.mkdir()
        run_concurrently(get, objects)


def _download(client: Minio, bucket: str, key: str, path: Path) -> None:
    """Write an object to a file; a connection that breaks half-way is tried twice more."""
    begun = path.with_name(f"{path.name}.{os.getpid()}.part.minio")  # minio leaves it where it fails
    try:
        for left in reversed(range(RETRIES + 1)):
            try:
                client.fget_object(bucket, key, str(path), tmp_file_path=str(begun))
                return
            except urllib3.exceptions.HTTPError:
                if not left:
                    raise
    finally:
        begun.unlink(missing_ok=True)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn what minio and urllib3 raise into one line."""
    try:
        yield
    except (MinioException, urllib3.exceptions.HTTPError, ValueError, OSError) as error:
        kind = Unreachable if isinstance(error, urllib3.exceptions.HTTPError | ConnectionError) else UserError
        raise kind(redact(f"{uri} at {os.environ.get('S3_ENDPOINT_URL')}: {_reason(error)}")) from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if isinstance(error, S3Error):
        remedy = "; set AWS_DEFAULT_REGION to the store's" if "region" in str(error.message) else ""
        return _REMEDY.get(str(error.code), f"{error.code}: {error.message}{remedy}")
    if isinstance(error, MinioException):
        return f"not an answer of an S3 server ({text}); correct S3_ENDPOINT_URL"
    if isinstance(error, urllib3.exceptions.HTTPError):
        kind = type(getattr(error, "reason", None) or error).__name__
        return f"the endpoint does not answer ({kind}); start it or correct S3_ENDPOINT_URL"
    return text
