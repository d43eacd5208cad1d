"""The files of a .zip, and archives that are refused."""

import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.sources.archive import ZipTree, list_end


def _add_entry(path: Path, name: str, data: bytes = b"x", *, mode: int = 0o100644, flags: int = 0) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, data)
    if flags:  # zipfile cannot write the flag of an encrypted entry: change the last central header
        content = bytearray(path.read_bytes())
        content[content.rindex(b"PK\x01\x02") + 8] |= flags
        path.write_bytes(content)


def _open(path: Path) -> ZipTree:
    return ZipTree(path, str(path))


def test_the_files_are_read_by_several_threads(class_zip: Path, class1: Path) -> None:
    tree = _open(class_zip)
    assert "Class1/Train/Label/Labels.txt" in tree.names
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(tree.read, tree.names * 5))
    expected = {f"Class1/{p.relative_to(class1).as_posix()}": p for p in class1.rglob("*") if p.is_file()}
    for name, content in zip(tree.names * 5, contents, strict=True):
        assert content == (expected[name].read_bytes() if name in expected else b"x")
    tree.close()


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("__MACOSX/a/._b.png", "a/b.png", ".DS_Store"):
            file.writestr(name, b"x")
    assert _open(tmp_path / "a.zip").names == ("a/b.png",)


@pytest.mark.parametrize(
    ("name", "mode", "flags", "reason"),
    [
        ("../evil.PNG", 0o100644, 0, "has a path outside the folder"),
        ("Class1/Train/../../../evil.PNG", 0o100644, 0, "has a path outside the folder"),
        ("Class1\\..\\evil.PNG", 0o100644, 0, "has a path outside the folder"),
        ("/tmp/evil.PNG", 0o100644, 0, "has an absolute path"),
        ("C:\\evil.PNG", 0o100644, 0, "has an absolute path"),
        ("Class1/Train/link.PNG", 0o120777, 0, "is a link or a special file"),
        ("Class1/Train/pipe.PNG", 0o010644, 0, "is a link or a special file"),
        ("Class1/Train/secret.PNG", 0o100644, 1, "is encrypted"),
    ],
)
def test_a_dangerous_entry_is_an_error(
    class_zip: Path, name: str, mode: int, flags: int, reason: str
) -> None:
    _add_entry(class_zip, name, mode=mode, flags=flags)
    with pytest.raises(UserError, match=reason) as caught:
        _open(class_zip)
    assert str(caught.value).startswith(f"{class_zip}: entry ")
    data = class_zip.read_bytes()
    with pytest.raises(UserError, match=rf"^entry .* {reason}"):
        list_end(data, len(data))


def test_a_very_high_compression_ratio_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Class1/Train/0001.PNG", bytes(20_000_000))
    with pytest.raises(UserError, match="would unpack to 1 files of 20000000 bytes"):
        _open(path)


def test_an_entry_that_is_larger_than_its_recorded_size_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "false_size.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("0001.PNG", bytes(20_000_000))
    content, size = path.read_bytes(), (20_000_000).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"^is damaged in the archive \(Bad CRC-32"):
        _open(path).read("0001.PNG")


def test_a_repeated_entry_is_an_error(class_zip: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        _add_entry(class_zip, "Class1/Train/Thumbs.db")
    with pytest.raises(UserError, match=r"holds 'Class1/Train/Thumbs.db' twice"):
        _open(class_zip)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_archive_is_an_error(class_zip: Path, size: int) -> None:
    class_zip.write_bytes(class_zip.read_bytes()[:size])
    with pytest.raises(UserError, match=r"Class1\.zip is not a valid \.zip"):
        _open(class_zip)


def test_names_with_backslashes_are_paths(class_zip: Path, tmp_path: Path) -> None:
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(class_zip) as source, zipfile.ZipFile(path, "w") as file:
        file.writestr("data\\Class1\\Train\\", b"")
        for info in source.infolist():
            file.writestr("data\\" + info.filename.replace("/", "\\"), source.read(info))
    assert _open(path).names == tuple(f"data/{name}" for name in _open(class_zip).names)
    _add_entry(path, "data/Class1/Train/Thumbs.db")
    with pytest.raises(UserError, match=r"holds 'data/Class1/Train/Thumbs.db' twice"):
        _open(path)


def _set_method(path: Path, name: str, method: int) -> None:
    """Change the compression method of one entry, in its local and its central header."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        content[file.getinfo(name).header_offset + 8] = method
    central = content.index(b"PK\x01\x02")
    while content[central + 46 : central + 46 + len(name)] != name.encode():
        central = content.index(b"PK\x01\x02", central + 1)
    content[central + 10] = method
    path.write_bytes(content)


@pytest.mark.parametrize(("method", "title"), [(9, "Deflate64"), (98, "PPMd"), (77, "number 77")])
def test_a_compression_method_that_python_cannot_read_is_named(
    class_zip: Path, method: int, title: str
) -> None:
    _set_method(class_zip, "Class1/Test/0003.PNG", method)
    tree = _open(class_zip)
    assert tree.read("Class1/Test/0002.PNG")
    with pytest.raises(UserError, match=f"^is compressed with the method {title}, .*; repack the archive"):
        tree.read("Class1/Test/0003.PNG")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_damaged_data_of_every_compression_method_are_an_error(tmp_path: Path, method: int) -> None:
    path = tmp_path / "Class1.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("Train/0001.PNG", os.urandom(1000))
    content = bytearray(path.read_bytes())
    content[60:70] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^is damaged in the archive \(.*\); download it again"):
        _open(path).read("Train/0001.PNG")


def test_a_file_that_only_has_the_name_of_a_zip_is_named_as_what_it_is(class1: Path, tmp_path: Path) -> None:
    tar = shutil.make_archive(str(tmp_path / "a"), "gztar", class1 / "Test" / "Label")
    Path(tar).rename(tmp_path / "Class1.zip")
    with pytest.raises(UserError, match=r"Class1\.zip is a gzip file, such as \.tar\.gz, not a \.zip"):
        _open(tmp_path / "Class1.zip")
