"""Read and write objects on S3: MinIO, AWS or another endpoint. Only this module imports minio.

Every call reads its settings from the environment: `S3_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` or `AWS_DEFAULT_REGION` (default us-east-1), and
the variables that `core.network` reads.
Files are written completely or not at all. A call ends within a few minutes if the server does not answer.
Every error is a `UserError`.
"""

import io
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from tinyunet.core import network
from tinyunet.core.errors import Unreachable, UserError, require
from tinyunet.core.files import atomic_path, require_space
from tinyunet.core.urls import redact, split_url
from tinyunet.storage.https import download
from tinyunet.storage.s3_codes import MISSING_CODES, REASONS
from tinyunet.storage.transfer import THREADS, Transfer, run_concurrently, safe_target, split_uri

CONNECT_S, READ_S, RETRIES, RETRIED_STATUS = 4.0, 60.0, 2, (429, 500, 502, 503, 504)


def is_remote(location: str) -> bool:
    """Return whether a location is an S3 URI."""
    return location.startswith("s3://")


def fetch(uri: str, dest: Path, *, transfer: Transfer | None = None) -> Path:
    """Download an object, all objects under a prefix, or a file over HTTPS, and return `dest`.

    Args:
        uri: s3://bucket/key, s3://bucket/prefix or https://host/file (see `https.download`).
        dest: The file to write or, for a prefix, the folder to create.
        transfer: The transfer of which this object is a part; by default, the object is a transfer itself.

    Raises:
        UserError: if the server cannot be reached or the object cannot be read. No incomplete file remains.
    """
    if uri.startswith(("https://", "http://")):
        return download(uri, dest)
    bucket, key = split_uri(uri)
    with _one_line_errors(uri):
        if key and not key.endswith("/") and (size := _size(bucket, key)) is not None:
            _fetch_object(bucket, key, size, dest, transfer)
        else:
            _fetch_prefix(bucket, key, dest, uri)
    return dest


def push(path: Path, uri: str) -> None:
    """Upload a file.

    Raises:
        UserError: if the file does not exist or the upload fails.
    """
    bucket, key = split_uri(uri)
    with _one_line_errors(uri):
        size = path.stat().st_size
        with Transfer(f"upload {uri}", size) as transfer:
            _client().fput_object(bucket, key, str(path), num_parallel_uploads=1)
            transfer.advance(size)


def exists(uri: str) -> bool:
    """Return whether an object with exactly this name exists."""
    bucket, key = split_uri(uri)
    with _one_line_errors(uri):
        return _size(bucket, key) is not None


def list_objects(uri: str) -> list[str]:
    """Return the sorted URIs of all objects under a prefix, which is treated as a folder."""
    bucket, key = split_uri(uri)
    with _one_line_errors(uri):
        return [f"s3://{bucket}/{name}" for name, _ in _listing(bucket, key)]


def read_bytes(uri: str) -> bytes:
    """Return the content of an object."""
    bucket, key = split_uri(uri)
    with _one_line_errors(uri), closing(_client().get_object(bucket, key)) as response:
        return bytes(response.read())


def read_end(uri: str, size: int) -> tuple[bytes, int]:
    """Return at most the last `size` bytes of an object, and the size of the object."""
    bucket, key = split_uri(uri)
    with _one_line_errors(uri):
        total = _client().stat_object(bucket, key).size or 0
        with closing(_client().get_object(bucket, key, max(total - size, 0))) as response:
            return bytes(response.read()), total


def write_bytes(uri: str, data: bytes, *, read_s: float = READ_S) -> None:
    """Write an object atomically, and wait at most `read_s` seconds for the answer to each attempt."""
    bucket, key = split_uri(uri)
    with _one_line_errors(uri):
        _client(read_s).put_object(bucket, key, io.BytesIO(data), len(data))


def remove(uri: str) -> None:
    """Delete an object, if it exists."""
    bucket, key = split_uri(uri)
    with _one_line_errors(uri):
        _client().remove_object(bucket, key)


def make_bucket(name: str) -> None:
    """Create a bucket if it does not exist."""
    with _one_line_errors(f"s3://{name}"):
        client = _client()
        if not client.bucket_exists(name):
            client.make_bucket(name)


def list_buckets() -> list[str]:
    """Return the names of the endpoint's buckets."""
    with _one_line_errors("the endpoint"):
        return [bucket.name for bucket in _client().list_buckets()]


def _client(read_s: float = READ_S) -> Minio:
    url = _endpoint()
    expected = "http(s)://host[:port], the address of an S3 server"
    parts = split_url("S3_ENDPOINT_URL", url, expected)
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    require(parts.scheme in ("http", "https") and not more, "S3_ENDPOINT_URL", redact(url), expected)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    keys = [network.read_credential(name) for name in names]
    if unset := [name for name, key in zip(names, keys, strict=True) if not key]:
        raise UserError(f"{' and '.join(unset)} not set; S3 needs {' and '.join(names)} in the environment")
    return Minio(
        parts.netloc,
        access_key=keys[0],
        secret_key=keys[1],
        session_token=network.read_credential("AWS_SESSION_TOKEN") or None,
        secure=parts.scheme == "https",
        region=network.read_credential("AWS_REGION")
        or network.read_credential("AWS_DEFAULT_REGION")
        or "us-east-1",
        http_client=network.open_pool(
            url,
            network.tls_context(network.ca_file("AWS_CA_BUNDLE")),
            timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
            maxsize=THREADS,  # one connection per thread
            retries=urllib3.Retry(RETRIES, connect=1, backoff_factor=0.3, status_forcelist=RETRIED_STATUS),
        ),
    )


def _endpoint() -> str:
    return os.environ.get("S3_ENDPOINT_URL", "").strip()


def _size(bucket: str, key: str) -> int | None:
    """Return the size of an object in bytes, or None if it does not exist."""
    try:
        return _client().stat_object(bucket, key).size or 0
    except S3Error as error:
        if error.code == "AccessDenied":  # the answer to HEAD has no body; the answer to GET has the reason
            _client().get_object(bucket, key).close()
        if error.code not in MISSING_CODES:
            raise
        return None


def _listing(bucket: str, key: str) -> list[tuple[str, int]]:
    """Return the name and the size in bytes of every object under a prefix, sorted by name."""
    objects = _client().list_objects(bucket, prefix=key and key.rstrip("/") + "/", recursive=True)
    return sorted((str(o.object_name), o.size or 0) for o in objects if not str(o.object_name).endswith("/"))


def _fetch_object(bucket: str, key: str, size: int, dest: Path, whole: Transfer | None) -> None:
    require_space(dest, size)
    own = nullcontext(whole) if whole else Transfer(f"download s3://{bucket}/{key}", size)
    with own as transfer, atomic_path(dest) as part:
        _download(_client(), bucket, key, part, transfer)


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

        def get(name: str) -> None:
            targets[name].parent.mkdir(parents=True, exist_ok=True)
            _download(client, bucket, name, targets[name], transfer)

        part.mkdir()
        run_concurrently(get, targets)


def _download(client: Minio, bucket: str, key: str, path: Path, transfer: Transfer) -> None:
    """Download an object to a file; try again, at most twice, if the connection is interrupted."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part.minio")  # minio does not delete it on error
    try:
        for remaining in reversed(range(RETRIES + 1)):
            try:
                client.fget_object(bucket, key, str(path), tmp_file_path=str(temporary), progress=transfer)
                return
            except urllib3.exceptions.HTTPError:
                if not remaining:
                    raise
                transfer.advance(-temporary.stat().st_size if temporary.exists() else 0)
                temporary.unlink(missing_ok=True)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _one_line_errors(uri: str) -> Iterator[None]:
    """Convert the exceptions of minio and urllib3 to a UserError of one line."""
    try:
        yield
    except (MinioException, urllib3.exceptions.HTTPError, ValueError, OSError) as error:
        kind = Unreachable if isinstance(error, urllib3.exceptions.HTTPError | ConnectionError) else UserError
        reason = network.hide_credentials(_reason(error))
        raise kind(f"{redact(f'{uri} at {_endpoint()}')}: {reason}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if isinstance(error, S3Error):
        remedy = "; set AWS_DEFAULT_REGION to the store's region" if "region" in str(error.message) else ""
        return REASONS.get(str(error.code), f"{error.code}: {error.message}{remedy}")
    if isinstance(error, MinioException):
        through = " through the proxy" if network.proxy_for(_endpoint()) else ""
        return f"the answer is not that of an S3 server{through} ({text}); correct S3_ENDPOINT_URL"
    if isinstance(error, urllib3.exceptions.HTTPError):
        if problem := network.connection_problem(error, _endpoint(), "AWS_CA_BUNDLE"):
            return problem
        kind = type(getattr(error, "reason", None) or error).__name__
        return f"the endpoint does not answer ({kind}); start it or correct S3_ENDPOINT_URL"
    return text
