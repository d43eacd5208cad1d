"""Copies of the ingested class of `raw`: a folder without manifest and reports, and an archive."""

import shutil
import zipfile
from pathlib import Path

import pytest


def copy_class(raw: Path, out: Path) -> Path:
    """Copy Train and Test into `out`."""
    for name in ("Train", "Test"):
        shutil.copytree(raw / name, out / name)
    return out


@pytest.fixture
def class_zip(raw: Path, tmp_path: Path) -> Path:
    """An archive like the published ones (Class1/Train/…), with one file that is not data."""
    path = tmp_path / "Class1.zip"
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(p for name in ("Train", "Test") for p in (raw / name).rglob("*") if p.is_file()):
            file.write(source, f"Class1/{source.relative_to(raw)}")
        file.writestr("Class1/Train/Thumbs.db", b"x")
    return path
