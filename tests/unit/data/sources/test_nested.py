"""The .zip files of a source as folders."""

import shutil
import zipfile
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.sources import nested
from tinyunet.data.sources.nested import NestedTree
from tinyunet.data.sources.source import open_source
from tinyunet.data.sources.trees import FolderTree


def _zip(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, name)
    return path


def _names(root: Path) -> tuple[str, ...]:
    return NestedTree(FolderTree(root), root / ".scratch").names


def test_a_zip_in_a_folder_is_a_folder_and_its_own_top_folder_is_not_repeated(tmp_path: Path) -> None:
    _zip(tmp_path / "Class1.zip", "Class1/Train/a.png", "Class1/Test/b.png", "__MACOSX/Class1/x.png")
    _zip(tmp_path / "up" / "class2.ZIP", "Train/a.png", "class2/b.png")
    tree = NestedTree(FolderTree(tmp_path), tmp_path / ".scratch")
    assert tree.names == (
        "Class1/Test/b.png", "Class1/Train/a.png", "up/class2/Train/a.png", "up/class2/class2/b.png",
    )  # fmt: skip
    assert tree.read("Class1/Test/b.png") == b"Class1/Test/b.png"
    assert tree.read("up/class2/class2/b.png") == b"class2/b.png"
    assert not (tmp_path / ".scratch" / "0.zip").exists()
    tree.close()


def test_of_the_zips_in_a_zip_only_those_are_unpacked_that_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        for number in (1, 2, 3):
            inner = _zip(tmp_path / "in" / f"Class{number}.zip", f"Train/{number}.png")
            outer.write(inner, f"dagm/Class{number}.zip")
    with open_source(str(tmp_path / "all.zip"), tmp_path / "scratch") as tree:
        assert tree.names == tuple(f"dagm/Class{number}/Train/{number}.png" for number in (1, 2, 3))
        assert not (tmp_path / "scratch" / "archives").exists()
        assert tree.read("dagm/Class2/Train/2.png") == b"Train/2.png"
        assert len(list((tmp_path / "scratch" / "archives").iterdir())) == 1
    assert not (tmp_path / "scratch").exists()


def test_a_long_table_of_contents_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _zip(tmp_path / "Class1.zip", *(f"Train/{number:05d}.png" for number in range(500)))
    monkeypatch.setattr(nested, "ENDS", (2000, 2**20))
    assert len(_names(tmp_path)) == 500


@pytest.mark.parametrize(
    ("files", "archive", "is_folder"),
    [
        (["images/a.png"], "backup.zip", False),
        (["Train/0001.PNG"], "Train/more.ZIP", False),
        (["Class1/a.png"], "Class1.zip", False),
        (["Class2/a.png"], "Class1.zip", True),
        (["readme.txt"], "images.zip", True),
    ],
)
def test_a_zip_beside_pictures_or_its_folder_is_a_file_unless_it_is_a_class(
    tmp_path: Path, files: list[str], archive: str, is_folder: bool
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    _zip(tmp_path / archive, "x/y.png")
    assert (archive not in _names(tmp_path)) == is_folder
    assert (f"{archive[:-4]}/x/y.png" in _names(tmp_path)) == is_folder


def test_an_archive_that_cannot_be_listed_stays_a_file_and_tells_why(tmp_path: Path) -> None:
    (tmp_path / "Class1.zip").write_bytes(b"x")
    _zip(tmp_path / "Class2.zip", "../evil.png")
    (tmp_path / "Class3.zip").symlink_to("absent")
    _zip(tmp_path / "Class4.zip", "Train/a.png")
    tree = NestedTree(FolderTree(tmp_path), tmp_path / ".scratch")
    assert tree.names == ("Class1.zip", "Class2.zip", "Class3.zip", "Class4/Train/a.png")
    reasons = ("is not a valid .zip", "entry '../evil.png' has a path outside", "is a broken link")
    for name, reason in zip(tree.names, reasons, strict=False):
        with pytest.raises(UserError, match=f"^{reason}"):
            tree.read(name)


def test_an_inner_archive_that_is_damaged_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = _zip(tmp_path / "in" / "Class1.zip", "Train/0001.PNG")
    path.write_bytes(path.read_bytes().replace(b"Train/0001.PNG", b"Train/0001.PNX", 1))
    shutil.move(path, tmp_path / "Class1.zip")
    tree = NestedTree(FolderTree(tmp_path), tmp_path / ".scratch")
    with pytest.raises(UserError, match=r"^is damaged in the archive"):
        tree.read("Class1/Train/0001.PNG")


def test_names_have_their_accents_composed_unless_both_forms_exist(tmp_path: Path) -> None:
    for name in ("e\u0301.png", "u\u0308/a.png", "\u00e4.png", "a\u0308.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    tree = NestedTree(FolderTree(tmp_path), tmp_path / ".scratch")
    assert set(tree.names) == {"\u00e9.png", "\u00fc/a.png", "\u00e4.png", "a\u0308.png"}
    assert tree.read("\u00e4.png") == "\u00e4.png".encode()
    assert tree.read("a\u0308.png") == "a\u0308.png".encode()
    assert tree.read("\u00e9.png") == "e\u0301.png".encode()
    assert tree.read("\u00fc/a.png") == "u\u0308/a.png".encode()
