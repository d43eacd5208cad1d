"""Where `--keep` puts images: a folder or a prefix on S3, with a limit in its query.

The client of S3 is imported when it is used: most servers keep nothing, and start without it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl

from tinyunet.core.errors import UserError, require
from tinyunet.core.files import atomic_path
from tinyunet.storage.transfer import split_uri

MOST_UNCERTAIN = 200
EXPECTED = "a folder or s3://bucket/prefix, and if wanted ?most-uncertain=NUMBER"


class ReviewStore(Protocol):
    """Files by name, such as `masks/a.png`."""

    def names(self) -> set[str]:
        """Return the names of all files."""

    def read(self, name: str) -> bytes:
        """Return a file."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all."""

    def remove(self, name: str) -> None:
        """Delete a file, if it exists."""


@dataclass(frozen=True)
class FolderStore:
    """The files of a folder."""

    root: Path

    def names(self) -> set[str]:
        """Return the names of all files; none if the folder does not exist."""
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}

    def read(self, name: str) -> bytes:
        """Return a file."""
        return (self.root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all."""
        with atomic_path(self.root / name) as part:
            part.write_bytes(data)

    def remove(self, name: str) -> None:
        """Delete a file, if it exists."""
        (self.root / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class BucketStore:
    """The objects under a prefix on S3."""

    root: str

    def names(self) -> set[str]:
        """Return the names of all objects."""
        from tinyunet.storage import s3

        return {uri.removeprefix(f"{self.root}/") for uri in s3.list_objects(self.root)}

    def read(self, name: str) -> bytes:
        """Return an object."""
        from tinyunet.storage import s3

        return s3.read_bytes(f"{self.root}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        from tinyunet.storage import s3

        s3.write_bytes(f"{self.root}/{name}", data)

    def remove(self, name: str) -> None:
        """Delete an object, if it exists."""
        from tinyunet.storage import s3

        s3.remove(f"{self.root}/{name}")


def parse_keep(text: str) -> tuple[ReviewStore, int]:
    """Return the store and the limit that `--keep` names.

    Raises:
        UserError: if it is not of the form EXPECTED.

    >>> parse_keep("s3://line/review?most-uncertain=50")
    (BucketStore(root='s3://line/review'), 50)
    """
    location, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    number = options.pop("most-uncertain", str(MOST_UNCERTAIN))
    if options or not location or (query and not query.startswith("most-uncertain")):
        raise UserError(f"--keep is {text!r}; expected {EXPECTED}")
    valid = re.fullmatch(r"\d{1,6}", number) is not None and int(number) > 0
    require(valid, "most-uncertain", number, "a number from 1 to 999999")
    if location.startswith("s3://"):
        split_uri(location)
        return BucketStore(location.rstrip("/")), int(number)
    if "://" in location:
        raise UserError(f"--keep is {text!r}; expected {EXPECTED}")
    return FolderStore(Path(location)), int(number)
