"""The files of a folder by name."""

import os
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.sources.trees import CachedTree, FolderTree, composed


def _write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_names_keep_their_case_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    _write(tmp_path, "b.PNG", "a/B.png", "a/b.png", ".DS_Store", "a/.git/x", "__MACOSX/a/b.png", "a/._b.png")
    tree = FolderTree(tmp_path)
    assert tree.names == ("a/B.png", "a/b.png", "b.PNG")
    assert tree.read("a/B.png") == b"a/B.png"
    assert tree.location == str(tmp_path)


def test_the_end_of_a_file_is_read_with_its_size(tmp_path: Path) -> None:
    _write(tmp_path, "abcdef")
    tree = FolderTree(tmp_path)
    assert tree.read_end("abcdef", 2) == (b"ef", 6)
    assert tree.read_end("abcdef", 99) == (b"abcdef", 6)


def test_links_to_folders_are_followed_and_loops_of_folders_end(tmp_path: Path) -> None:
    _write(tmp_path, "data/x.png", "in/y.png")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "data")
    (tmp_path / "in" / "self").symlink_to(".")
    (tmp_path / "data" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "up").symlink_to("..")
    assert FolderTree(tmp_path / "in").names == ("more/x.png", "y.png")


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        (lambda path: path.symlink_to("absent"), r"is a broken link \(to absent\)"),
        (lambda path: path.symlink_to(path), "is in a loop of links"),
        (Path.mkdir, "is a folder"),
        (os.mkfifo, "is not a regular file"),
    ],
    ids=["broken link", "loop", "folder", "pipe"],
)
def test_a_file_that_cannot_be_read_is_listed_and_reading_it_tells_why(
    tmp_path: Path, create: object, reason: str
) -> None:
    create(tmp_path / "0001.PNG")  # type: ignore[operator]
    tree = FolderTree(tmp_path)
    assert tree.names == ("0001.PNG",)
    with pytest.raises(UserError, match=f"^{reason}$"):
        tree.read("0001.PNG")


def test_a_cached_tree_reads_a_file_once(tmp_path: Path) -> None:
    _write(tmp_path, "a", "b")
    tree = CachedTree(FolderTree(tmp_path))
    assert (tree.location, tree.names) == (str(tmp_path), ("a", "b"))
    assert tree.read("a") == b"a"
    (tmp_path / "a").unlink()
    assert tree.read("a") == b"a"
    with pytest.raises(UserError, match=r"is missing|does not exist|cannot be read"):
        tree.read("c")


def test_letters_with_accents_are_one_character() -> None:
    assert composed("e\u0301") == "\u00e9" == composed("\u00e9")
