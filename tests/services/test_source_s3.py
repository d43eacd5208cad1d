"""The files of a source on S3."""

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.services.conftest import upload
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import dagm
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.sources.source import open_source
from tinyunet.data.synthetic.generator import SyntheticConfig, generate

ARCHIVES = ("Class1.zip", "Class1.tar.gz", "Class1.tar", "all.zip")


@pytest.fixture
def class1(tmp_path: Path) -> Path:
    """The folder Class1 with Train (4 images) and Test (3)."""
    generate(tmp_path / "in" / "Class1", 1, SyntheticConfig(train=4, test=3, size=32))
    return tmp_path / "in" / "Class1"


def _contents(source: str, scratch: Path) -> list[tuple[str, str, bytes, bytes]]:
    with open_source(source, scratch) as tree:
        listing = dagm.list_samples(tree, LayoutOptions(category="class1"))
        assert listing.problems == ()
        return [(s.split, s.name, s.image.read(), s.mask.read() if s.mask else b"") for s in listing.samples]


@pytest.fixture
def bucket(class1: Path, prefix: str, tmp_path: Path) -> str:
    """A prefix with Class1 as a folder, as three kinds of archives, and in archives in `zips`, `all.zip`."""
    up = tmp_path / "up"
    shutil.copytree(class1, up / "Class1")
    (up / "Class1" / ".hidden").touch()
    (up / "zips").mkdir()
    for form in ("zip", "gztar", "tar"):
        shutil.make_archive(str(tmp_path / "Class1"), form, class1.parent)
    shutil.copy(tmp_path / "Class1.zip", up / "zips" / "class1.ZIP")
    (up / "zips" / "Class2.zip").write_bytes(b"no archive")
    (up / "files").mkdir()
    for name in ARCHIVES[:3]:
        shutil.copy(tmp_path / name, up / "files")
    with zipfile.ZipFile(up / "files" / "all.zip", "w") as file:
        file.write(tmp_path / "Class1.zip", "dagm/Class1.zip")
    upload(up, prefix)
    return prefix


@pytest.mark.parametrize(
    "below",
    ["", "/Class1", "/Class1/", "/zips", *(f"/files/{name}" for name in ARCHIVES)],
)
def test_every_form_of_an_s3_uri_gives_the_same_samples(
    class1: Path, bucket: str, tmp_path: Path, below: str
) -> None:
    assert _contents(bucket + below, tmp_path / "scratch") == _contents(str(class1), tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_names_are_listed_without_reading_and_only_the_needed_archive_is_downloaded(
    bucket: str, tmp_path: Path
) -> None:
    with open_source(f"{bucket}/zips", tmp_path / "scratch") as tree:
        assert tree.location == f"{bucket}/zips"
        assert "class1/Train/Label/Labels.txt" in tree.names
        assert not (tmp_path / "scratch" / "archives").exists()
        with pytest.raises(UserError, match=r"^is not a valid \.zip"):
            tree.read("Class2.zip")
        with pytest.raises(UserError, match=r"/zips/Class2\.zip is not a valid \.zip"):
            dagm.list_samples(tree, LayoutOptions(category="class2"))


@pytest.mark.parametrize(
    ("below", "message"),
    [
        ("/nothing", "/nothing holds no files; expected images and their masks"),
        ("/files/Class3.zip", r"files/Class3\.zip"),
        ("/files/Class3.7z", r"Class3\.7z is a 7z archive; expected a folder"),
    ],
)
def test_a_source_that_is_not_there_is_an_error(
    bucket: str, tmp_path: Path, below: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught, open_source(bucket + below, tmp_path / "scratch"):
        pass
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "scratch").exists()
