import functools
import http.server
import os
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.data.conftest import copy_class
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.data.sources.source import remove_credentials


def test_a_folder_an_archive_and_a_nested_archive_give_the_same_digest_and_are_synthetic(
    raw: Path, class_zip: Path, tmp_path: Path
) -> None:
    outer_zip = tmp_path / "DAGM2007.zip"
    with zipfile.ZipFile(outer_zip, "w") as file:
        file.write(class_zip, "dagm/Class1.zip")
    copy_class(raw, tmp_path / "root" / "Class1")
    manifests = [
        ingest(str(source), tmp_path / f"out{n}", class_id=1)
        for n, source in enumerate((raw, tmp_path / "root", class_zip, outer_zip))
    ]
    assert {manifest.digest for manifest in manifests} == {RawManifest.read(raw).digest}
    assert all(manifest.synthetic for manifest in manifests)


@pytest.mark.parametrize("path", ["Class1", "Class1.zip", "Upload/Class1", "Upload/Class1.zip"])
def test_a_class_is_found_in_a_folder_and_in_its_subfolders(
    raw: Path, class_zip: Path, tmp_path: Path, path: str
) -> None:
    location = tmp_path / "DAGM2007" / path
    copy_class(raw, location.parent / "Class2")
    if location.suffix:
        shutil.copy(class_zip, location)
    else:
        copy_class(raw, location)
    shutil.copytree(raw / "Test", tmp_path / "DAGM2007" / "__MACOSX" / "Class1" / "Test")
    manifest = ingest(str(tmp_path / "DAGM2007"), tmp_path / "out", class_id=1)
    assert manifest.digest == RawManifest.read(raw).digest
    with pytest.raises(UserError, match=r"holds neither Class3, Class3\.zip nor Train and Test"):
        ingest(str(tmp_path / "DAGM2007"), tmp_path / "other", class_id=3)


def test_a_class_in_two_subfolders_is_an_error(class_zip: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(class_zip, tmp_path / name)
    class_zip.unlink()
    with pytest.raises(UserError, match="holds Class1 in a and in b; give one of these folders"):
        ingest(str(tmp_path), tmp_path / "out" / "raw", class_id=1)


def test_a_class_under_the_name_of_another_class_is_an_error(raw: Path, tmp_path: Path) -> None:
    copy_class(raw, tmp_path / "Class3")
    shutil.make_archive(str(tmp_path / "Class3"), "zip", tmp_path / "Class3")
    for source in (tmp_path / "Class3", tmp_path / "Class3.zip"):
        with pytest.raises(UserError, match="is Class3, but class_id is 2; give class_id=3"):
            ingest(str(source), tmp_path / "out", class_id=2)
    ingest(str(tmp_path / "Class3.zip"), tmp_path / "out", class_id=3)


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


def test_a_download_gives_the_same_dataset_and_its_archive_is_deleted(
    raw: Path, web: str, tmp_path: Path
) -> None:
    manifest = ingest(f"{web}/Class1.zip?token=secret", tmp_path / "out", class_id=1)
    assert manifest.digest == RawManifest.read(raw).digest
    assert manifest.source == f"{web}/Class1.zip"
    assert "secret" not in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "Train", "Test", "manifest.json", "report.json", "report.html",
    }  # fmt: skip


def test_a_failed_download_leaves_no_files(web: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404"):
        ingest(f"{web}/Class2.zip", tmp_path / "out", class_id=2)
    assert [p.name for p in tmp_path.iterdir()] == ["Class1.zip"]


def test_copies_of_read_only_files_are_writable(raw: Path, tmp_path: Path) -> None:
    for path in copy_class(raw, tmp_path / "in").rglob("*"):
        path.chmod(0o555)
    ingest(str(tmp_path / "in"), tmp_path / "out", class_id=1)
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/does/not/exist", "/does/not/exist does not exist; expected a folder"),
        ("ftp://me:pw@host/Class1.zip", "ftp://***@host/Class1.zip is a ftp URL"),
        (__file__, "is a file, but not a .zip"),
        (str(Path(__file__).parent), "holds neither Class1, Class1.zip nor Train and Test"),
    ],
)
def test_an_invalid_source_is_an_error(source: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        ingest(source, tmp_path / "out", class_id=1)
    assert not list(tmp_path.iterdir())


def test_user_password_and_query_are_removed_from_a_url() -> None:
    assert remove_credentials("https://me:pw@host/a.zip?token=s#x") == "https://host/a.zip"
    assert remove_credentials("s3://bucket/prefix") == "s3://bucket/prefix"
    assert remove_credentials("synthetic://?train=4") == "synthetic://?train=4"


def _rename_to_lower_case(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))


def test_names_in_lower_case_give_the_same_dataset_from_a_folder_and_a_zip(raw: Path, tmp_path: Path) -> None:
    copy_class(raw, tmp_path / "root" / "Class1")
    _rename_to_lower_case(tmp_path / "root")
    labels = tmp_path / "root" / "class1" / "train" / "label" / "labels.txt"
    labels.write_text(labels.read_text(), "utf-16")
    archive = shutil.make_archive(str(tmp_path / "CLASS1"), "zip", tmp_path / "root")
    Path(archive).rename(tmp_path / "CLASS1.ZIP")
    for n, source in enumerate(("root", "root/class1", "CLASS1.ZIP", ".")):
        if source == ".":
            shutil.rmtree(tmp_path / "root")
        manifest = ingest(str(tmp_path / source), tmp_path / f"out{n}", class_id=1)
        assert manifest.digest == RawManifest.read(raw).digest
        names = {
            path.relative_to(tmp_path / f"out{n}").as_posix() for path in tmp_path.glob(f"out{n}/*/*/*.txt")
        }
        assert names == {"Train/Label/Labels.txt", "Test/Label/Labels.txt"}
        shutil.rmtree(tmp_path / f"out{n}")


@pytest.mark.parametrize(
    "name", ["class1", "Class1/train", "Class1/Train/LABEL", "Class1/Train/Label/labels.txt"]
)
def test_two_names_that_differ_in_upper_and_lower_case_are_an_error(
    raw: Path, tmp_path: Path, name: str
) -> None:
    copy_class(raw, tmp_path / "root" / "Class1")
    (second,) = (
        p
        for p in (tmp_path / "root").rglob("*")
        if p.relative_to(tmp_path / "root").as_posix().lower() == name.lower()
    )
    copy = tmp_path / "root" / name
    shutil.copytree(second, copy) if second.is_dir() else shutil.copy(second, copy)
    with pytest.raises(UserError, match=rf"holds .*{copy.name}.*; keep one of them"):
        ingest(str(tmp_path / "root"), tmp_path / "out", class_id=1)


@pytest.mark.parametrize(
    ("name", "kind"), [("Class1.7z", "7z"), ("Upload/Class1.tar.gz", "tar"), ("Class1/Train.rar", "RAR")]
)
def test_an_archive_of_another_kind_is_named(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "root" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    with pytest.raises(
        UserError, match=rf"names, in upper or lower case; {name} is a {kind} archive: unpack it"
    ):
        ingest(str(tmp_path / "root"), tmp_path / "out", class_id=1)
    with pytest.raises(UserError, match=rf"{name} is a {kind} archive; expected a folder"):
        ingest(str(path), tmp_path / "out", class_id=1)
    with pytest.raises(UserError, match=rf"host/{name} is a {kind} archive; expected a folder"):
        ingest(f"https://host/{name}?token=x", tmp_path / "out", class_id=1)


def _loop(path: Path) -> None:
    path.symlink_to(path)


UNREADABLE = {
    "broken link": (lambda path: path.symlink_to("absent"), "is a broken link (to absent)"),
    "loop of links": (_loop, "is in a loop of links"),
    "folder": (Path.mkdir, "is a folder"),
    "pipe": (os.mkfifo, "is not a regular file"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named_and_left_out_unless_it_is_listed(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    create, reason = UNREADABLE[case]
    folder = copy_class(raw, tmp_path / "in")
    create(folder / "Train" / "9999.png")
    assert ingest(str(folder), tmp_path / "out", class_id=1).digest == RawManifest.read(raw).digest
    assert f"note: Train/9999.png: {reason}; it is left out" in capsys.readouterr().err
    (folder / "Test" / "0001.PNG").unlink()
    create(folder / "Test" / "0001.PNG")
    with pytest.raises(UserError, match=re.escape(f"Test/0001.PNG: {reason}; correct")):
        ingest(str(folder), tmp_path / "other", class_id=1)


def test_a_source_that_is_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "Class1").symlink_to("absent")
    with pytest.raises(UserError, match=r"Class1 is a broken link \(to absent\); expected a folder"):
        ingest(str(tmp_path / "Class1"), tmp_path / "out", class_id=1)
