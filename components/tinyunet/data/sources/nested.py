"""The .zip files of a source as folders, such as the ten ClassN.zip of DAGM2007."""

import re
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.suffixes import SUFFIXES
from tinyunet.data.sources.archive import ZipTree, list_end
from tinyunet.data.sources.trees import Store, composed, is_hidden

ENDS = (2**20, 2**25)  # bytes that are read to list an archive; the second size is for a long list
_CLASS = re.compile(r"(?i)class[ _-]?\d+(_def)?\.zip")


class NestedTree:
    """A tree in which the .zip files appear as folders with their names without `.zip`.

    Names have their letters with accents composed, whichever way the file system or an archive has them.

    The names of their files are read from their ends. An archive is opened, and copied to this machine if it
    is elsewhere, when one of its files is read. An archive that cannot be listed stays a file; reading it
    tells why. A .zip beside pictures stays a file too, unless it is named as a class of DAGM2007: it may hold
    the same pictures.

    Args:
        store: The tree.
        scratch: Folder for copies of archives.
    """

    def __init__(self, store: Store, scratch: Path) -> None:
        self.location = store.location
        self._store, self._scratch, self._lock = store, scratch, threading.Lock()
        self._files: dict[str, tuple[str, str]] = {}  # name: archive, name in it
        self._faults: dict[str, str] = {}  # archive: reason
        self._opened: dict[str, ZipTree] = {}
        archives = [name for name in _archives_to_list(store.names) if self._list(name)]
        self._stored = _by_composed_name(sorted({*store.names, *self._files} - set(archives)))
        self.names = tuple(sorted(self._stored))

    def close(self) -> None:
        """Close the opened archives."""
        for archive in self._opened.values():
            archive.close()

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; see `Tree.read`."""
        name = self._stored.get(name, name)
        if name in self._faults:
            raise UserError(self._faults[name])
        if name not in self._files:
            return self._store.read(name)
        archive, inner = self._files[name]
        return self._open(archive).read(inner)

    def _list(self, archive: str) -> bool:
        """Add the files of an archive; return whether it could be listed."""
        try:
            names = self._names(archive)
        except (UserError, OSError) as error:
            self._faults[archive] = str(error)
            return False
        folder = archive[: -len(".zip")]
        top = f"{PurePosixPath(folder).name}/"
        repeated = all(name.lower().startswith(top.lower()) for name in names)
        for name in names:
            self._files[f"{folder}/{name[len(top) :] if repeated else name}"] = (archive, name)
        return True

    def _names(self, archive: str) -> list[str]:
        for size in ENDS:
            end, total = self._store.read_end(archive, size)
            try:
                return [name for name in list_end(end, total) if not is_hidden(name)]
            except UserError:
                if len(end) == total or size == ENDS[-1]:
                    raise
        raise AssertionError(archive)

    def _open(self, archive: str) -> ZipTree:
        with self._lock:
            if archive not in self._opened:
                self._scratch.mkdir(parents=True, exist_ok=True)
                copy = self._store.copy(archive, self._scratch / f"{len(self._opened)}.zip")
                self._opened[archive] = ZipTree(copy, f"{self.location}/{archive}")
            return self._opened[archive]


def _by_composed_name(names: Iterable[str]) -> dict[str, str]:
    """Return names by their composed form, which annotations and tables have, unless several have it."""
    forms = {name: composed(name) for name in names}
    counts = Counter(forms.values())
    return {form if counts[form] == 1 else name: name for name, form in forms.items()}


def _archives_to_list(names: Iterable[str]) -> list[str]:
    """Return the .zip files that appear as folders: at most one of a name, and none beside its folder."""
    names = list(names)
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    archives = {name[: -len(".zip")]: name for name in names if name.lower().endswith(".zip")}
    has_pictures = any(name.lower().endswith(SUFFIXES) for name in names)
    return [
        name
        for folder, name in archives.items()
        if folder not in folders
        if not has_pictures or _CLASS.fullmatch(PurePosixPath(name).name)
    ]
