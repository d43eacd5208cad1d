"""Kinds of archives, recognised by file name and by content."""

from collections.abc import Iterable
from pathlib import Path

# The first suffix that fits determines the kind. So .tar.gz precedes .gz.
_SUFFIXES = {
    ".tar.gz": "tar", ".tgz": "tar", ".tar.bz2": "tar", ".tbz2": "tar", ".tar.xz": "tar", ".txz": "tar",
    ".tar": "tar", ".7z": "7z", ".7z.001": "7z", ".rar": "RAR", ".zipx": "ZIPX",
    ".zip.001": "split ZIP", ".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard", ".cab": "CAB",
    ".iso": "ISO",
}  # fmt: skip
_STARTS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x8b": "a gzip file, such as .tar.gz",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"MSCF": "a CAB archive",
    b"PK\x07\x08": "a part of a split ZIP archive",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer",
}


def kind_by_name(name: str) -> str | None:
    """Return the kind of archive that a file name indicates, such as `7z`; None for .zip and other names."""
    return next((kind for suffix, kind in _SUFFIXES.items() if name.lower().endswith(suffix)), None)


def kind_by_content(path: Path) -> str | None:
    """Return the kind of a file that is not a readable .zip, such as `a 7z archive`; None if unknown."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in _STARTS.items() if start.lower().startswith(magic.lower())), None)


def describe_archives(names: Iterable[str]) -> str:
    """Return a clause that lists the archives among file names and what to do; empty without archives."""
    kinds = [f"{name} is a {kind} archive" for name in sorted(names) if (kind := kind_by_name(name))]
    more = f" and {len(kinds) - 3} more" if len(kinds) > 3 else ""
    return f"; {', '.join(kinds[:3])}{more}: unpack it, or repack it as .zip" if kinds else ""
