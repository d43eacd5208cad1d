"""A class of DAGM2007 in the official layout: a folder, copies of it, and an archive."""

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.conftest import SOURCE
from tinyunet.data.examine import examine
from tinyunet.data.layouts.find import read_listing
from tinyunet.data.options import IngestOptions
from tinyunet.data.sources.source import open_source
from tinyunet.data.synthetic.generator import generate, parse_source
from tinyunet.data.validate import Report


@pytest.fixture(scope="session")
def class1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Train (24 images, 8 defective) and Test (16, 5) of class 1, as `raw` holds them."""
    folder = tmp_path_factory.mktemp("dagm") / "Class1"
    generate(folder, 1, parse_source(SOURCE))
    return folder


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
