import functools
import http.server
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SOURCE
from tests.unit.data.conftest import copy_class
from tinyunet.core.errors import UserError
from tinyunet.data.sources.source import check_source, open_source, remove_credentials
from tinyunet.data.sources.trees import FolderTree


def _contents(source: object, scratch: Path, category: str = "") -> dict[str, bytes]:
    with open_source(str(source), scratch, category=category) as tree:
        return {name: tree.read(name) for name in tree.names if not name.endswith("Thumbs.db")}


def test_a_folder_an_archive_and_a_nested_archive_have_the_same_files(
    class1: Path, class_zip: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "DAGM2007.zip", "w") as file:
        file.write(class_zip, "dagm/Class1.zip")
    copy_class(class1, tmp_path / "root" / "Class1")
    tar = shutil.make_archive(str(tmp_path / "root"), "gztar", tmp_path / "root")
    expected = _contents(tmp_path / "root", tmp_path / "scratch")
    assert len(expected) == 24 + 8 + 16 + 5 + 2
    for source in (class_zip, tar, SOURCE):
        assert _contents(source, tmp_path / "scratch") == expected
    nested = _contents(tmp_path / "DAGM2007.zip", tmp_path / "scratch")
    assert nested == {f"dagm/{name}": content for name, content in expected.items()}


def test_synthetic_images_are_those_of_the_category(tmp_path: Path) -> None:
    options = "synthetic://?train=2&test=2&size=32"
    with open_source(options, tmp_path / "scratch", category="3") as tree:
        assert {name.split("/")[0] for name in tree.names} == {"Class3"}
        assert tree.location == options
    with (
        pytest.raises(UserError, match="category is 'bottle'; expected class1 to class10"),
        open_source(options, tmp_path / "scratch", category="bottle"),
    ):
        pass


@pytest.fixture
def web(class_zip: Path) -> Iterator[str]:
    """The address of a local web server that serves the archive."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(class_zip.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["Class1.zip", "Class1.tar.gz", "content"])
def test_a_download_has_the_same_files_and_is_deleted(
    class1: Path, web: str, tmp_path: Path, name: str
) -> None:
    shutil.make_archive(str(tmp_path / "Class1"), "gztar", class1.parent, "Class1")
    shutil.copy(tmp_path / "Class1.tar.gz", tmp_path / "content")
    with open_source(f"{web}/{name}?token=secret", tmp_path / "scratch") as tree:
        assert tree.location == f"{web}/{name}"
        assert tree.read("Class1/Test/0001.PNG") == (class1 / "Test" / "0001.PNG").read_bytes()
    assert not (tmp_path / "scratch").exists()


def test_a_failed_download_leaves_no_files(web: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404"), open_source(f"{web}/Class2.zip", tmp_path / "scratch"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["Class1.zip"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/does/not/exist", "/does/not/exist does not exist; expected a folder"),
        ("ftp://me:pw@host/Class1.zip", "ftp://***@host/Class1.zip is a ftp URL"),
        (__file__, "is a file, but not a .zip or .tar; expected a folder, a .zip, a .tar"),
        ("synthetic://?trian=5", "'trian'"),
        ("https://host/a.7z?token=x", "https://host/a.7z is a 7z archive; expected a folder"),
    ],
)
def test_an_invalid_source_is_an_error_with_and_without_reading_it(
    source: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)), open_source(source, tmp_path / "scratch"):
        pass
    with pytest.raises(UserError, match=re.escape(message)):
        check_source(source)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_damaged_archive_is_found_without_reading_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="is not a valid"):
        check_source(str(tmp_path / name))


def test_a_good_source_passes_the_check(class1: Path, class_zip: Path, tmp_path: Path) -> None:
    tar = shutil.make_archive(str(tmp_path / "a"), "gztar", class1 / "Test")
    for source in (class1, class_zip, tar, SOURCE, "s3://bucket/prefix", "https://host/a.tar.gz"):
        check_source(str(source))


def test_a_source_without_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ".hidden").touch()
    with (
        pytest.raises(UserError, match=r"in holds no files; expected images and their masks"),
        open_source(str(tmp_path / "in"), tmp_path / "scratch"),
    ):
        pass
    assert not (tmp_path / "scratch").exists()


def test_user_password_and_query_are_removed_from_a_url() -> None:
    assert remove_credentials("https://me:pw@host/a.zip?token=s#x") == "https://host/a.zip"
    assert remove_credentials("s3://bucket/prefix") == "s3://bucket/prefix"
    assert remove_credentials("synthetic://?train=4") == "synthetic://?train=4"


@pytest.mark.parametrize(
    ("name", "kind"), [("Class1.7z", "7z"), ("a.tar.zst", "Zstandard"), ("a.rar", "RAR")]
)
def test_an_archive_of_another_kind_is_named(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for source in (str(tmp_path / name), f"https://host/{name}?token=x", f"s3://bucket/{name}"):
        with pytest.raises(UserError, match=rf"{name} is a {kind} archive; expected a folder"):
            check_source(source)


def test_a_source_that_is_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "Class1").symlink_to("absent")
    with pytest.raises(UserError, match=r"Class1 is a broken link \(to absent\); expected a folder"):
        check_source(str(tmp_path / "Class1"))


def test_the_current_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Class3").mkdir()
    (tmp_path / "Class3" / "a.png").touch()
    monkeypatch.chdir(tmp_path / "Class3")
    with open_source(".", tmp_path / "scratch") as tree:
        assert tree.location == str(tmp_path / "Class3")
        assert tree.names == FolderTree(Path()).names
