"""The files of a source by name, wherever they are: in a folder, an archive or a bucket."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tinyunet.core.errors import UserError
from tinyunet.core.files import why_unreadable


class Tree(Protocol):
    """The files of a source.

    Attributes:
        location: The source without credentials, for messages.
        names: Paths of all files with the separator `/`, sorted; without hidden files and `__MACOSX`.
    """

    location: str
    names: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; several threads may call this at the same time.

        Raises:
            OSError: if the file cannot be read.
            UserError: if the file cannot be read or is damaged in its archive; the message has no subject,
                except that of a server.
        """


class Store(Tree, Protocol):
    """A tree whose archives can be opened without reading them completely into memory."""

    def read_end(self, name: str, size: int) -> tuple[bytes, int]:
        """Return at most the last `size` bytes of a file, and the size of the file; see `Tree.read`."""

    def copy(self, name: str, target: Path) -> Path:
        """Return a local copy of a file, which is `target` unless the file is local already."""


class FolderTree:
    """The files of a folder, also behind links; a link to a folder that holds it is left out.

    A broken link, an unreadable folder, and an empty folder with a suffix, such as `0001.PNG`, are listed as
    files that cannot be read.

    Args:
        root: The folder.
        location: Its name in messages; its path by default.

    Raises:
        UserError: if the folder cannot be read.
    """

    def __init__(self, root: Path, location: str = "") -> None:
        self.location = location or str(root)
        self._root = root
        if not os.access(root, os.R_OK | os.X_OK):
            raise UserError(f"{self.location} cannot be read (Permission denied); correct its permissions")
        above = [parent.stat() for parent in root.resolve().parents]
        self.names = tuple(sorted(_walk(root, "", frozenset((one.st_dev, one.st_ino) for one in above))))

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; see `Tree.read`."""
        return self._readable(name).read_bytes()

    def read_end(self, name: str, size: int) -> tuple[bytes, int]:
        """Return the last bytes of a file and its size; see `Store.read_end`."""
        with self._readable(name).open("rb") as file:
            total = file.seek(0, os.SEEK_END)
            file.seek(max(total - size, 0))
            return file.read(), total

    def copy(self, name: str, target: Path) -> Path:
        """Return the path of a file."""
        return self._readable(name)

    def _readable(self, name: str) -> Path:
        path = self._root / name
        reason = why_unreadable(path)
        if reason in (None, "is a folder") and not os.access(path, os.R_OK):
            reason = "cannot be read (Permission denied)"
        if reason:
            raise UserError(reason)
        return path


class CachedTree:
    """A tree whose files are read once, however often they are asked for.

    Several layouts look into the same files to recognise them; in a bucket, each look would be a download.

    Args:
        tree: The tree.
    """

    def __init__(self, tree: Tree) -> None:
        self.location, self.names = tree.location, tree.names
        self._tree = tree
        self._content: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; see `Tree.read`."""
        if name not in self._content:
            self._content[name] = self._tree.read(name)
        return self._content[name]


def is_hidden(name: str) -> bool:
    """Return whether a file, or a folder that holds it, is hidden or was added by macOS."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _walk(folder: Path, prefix: str, parents: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Yield the names of the files below a folder.

    Args:
        folder: The folder.
        prefix: Name of the folder in the tree, with `/` at its end; empty for the root.
        parents: Device and number of the folders that hold it; none of them is entered again.
    """
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in parents:
        return
    visible = [path for path in folder.iterdir() if not is_hidden(path.name)]
    if not visible and prefix and folder.suffix:
        yield prefix.rstrip("/")
    for path in visible:
        if not path.is_dir():
            yield prefix + path.name
        elif os.access(path, os.R_OK | os.X_OK):
            yield from _walk(path, f"{prefix}{path.name}/", parents | {identity})
        else:
            yield prefix + path.name


def composed(name: str) -> str:
    """Return a name in which letters with accents are one character each, Unicode's form NFC.

    macOS writes the names of files in the other form; both look the same.
    """
    return unicodedata.normalize("NFC", name)
