"""A class of DAGM2007 in the official layout: a folder, copies of it, and an archive."""

import shutil
import zipfile
from pathlib import Path

import pytest

from tinyunet.data.ingestion.examine import examine
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.data.ingestion.validate import Report
from tinyunet.data.layouts.find import read_listing
from tinyunet.data.sources.source import open_source


def copy_class(folder: Path, out: Path) -> Path:
    """Copy Train and Test into `out`."""
    for name in ("Train", "Test"):
        shutil.copytree(folder / name, out / name)
    return out


def report_of(source: Path, out: Path, options: IngestOptions | None = None) -> Report:
    """Return the validation report of a source; the images are written to `out`."""
    options = options or IngestOptions()
    with open_source(str(source), out.with_name(f"{out.name}-scratch")) as tree:
        return examine(read_listing(tree, options), out, options)


@pytest.fixture
def class_zip(class1: Path, tmp_path: Path) -> Path:
    """An archive like the published ones (Class1/Train/…), with one file that is not data."""
    path = tmp_path / "Class1.zip"
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(path for path in class1.rglob("*") if path.is_file()):
            file.write(source, f"Class1/{source.relative_to(class1)}")
        file.writestr("Class1/Train/Thumbs.db", b"x")
    return path
