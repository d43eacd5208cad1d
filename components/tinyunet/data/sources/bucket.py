"""The files under a prefix on S3."""

from pathlib import Path

from tinyunet.data.sources.trees import is_hidden
from tinyunet.storage import s3
from tinyunet.storage.transfer import safe_target


class BucketTree:
    """The objects under a prefix, which are downloaded when they are read.

    Args:
        uri: s3://bucket/prefix.
        location: The URI without credentials, for messages.

    Raises:
        UserError: if the endpoint does not answer, or the name of an object is not safe as that of a file.
    """

    def __init__(self, uri: str, location: str) -> None:
        self.location = location
        self._root = uri.rstrip("/")
        names = [name.removeprefix(f"{self._root}/") for name in s3.list_objects(self._root)]
        for name in names:
            safe_target(Path(), name)
        self.names = tuple(sorted(name for name in names if not is_hidden(name)))

    def read(self, name: str) -> bytes:
        """Return the bytes of an object; see `Tree.read`."""
        return s3.read_bytes(f"{self._root}/{name}")

    def read_end(self, name: str, size: int) -> tuple[bytes, int]:
        """Return the last bytes of an object and its size; see `Store.read_end`."""
        return s3.read_end(f"{self._root}/{name}", size)

    def copy(self, name: str, target: Path) -> Path:
        """Download an object to `target`."""
        return s3.fetch(f"{self._root}/{name}", target)
