import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.sources import archive
from tinyunet.data.ingest import ingest


def _add_entry(path: Path, name: str, data: bytes = b"x", *, mode: int = 0o100644, flags: int = 0) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, data)
    if flags:  # zipfile cannot write the flag of an encrypted entry: change the last central header
        content = bytearray(path.read_bytes())
        content[content.rindex(b"PK\x01\x02") + 8] |= flags
        path.write_bytes(content)


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
def test_a_dangerous_entry_is_an_error_before_anything_is_unpacked(
    class_zip: Path, tmp_path: Path, name: str, mode: int, flags: int, reason: str
) -> None:
    _add_entry(class_zip, name, mode=mode, flags=flags)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match=reason):
        archive.unpack(class_zip, out, 1)
    assert not list(out.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"Class1.zip", "out"}


def test_a_very_high_compression_ratio_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Class1/Train/0001.PNG", bytes(20_000_000))
    with pytest.raises(UserError, match="would unpack to 1 files of 20000000 bytes"):
        ingest(str(path), tmp_path / "out", class_id=1)
    assert [p.name for p in tmp_path.iterdir()] == ["bomb.zip"]


def test_an_entry_that_is_larger_than_its_recorded_size_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "false_size.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Class1/Train/0001.PNG", bytes(20_000_000))
    content, size = path.read_bytes(), (20_000_000).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"is not a valid \.zip"):
        ingest(str(path), tmp_path / "out", class_id=1)
    assert [p.name for p in tmp_path.iterdir()] == ["false_size.zip"]


def test_a_repeated_entry_is_an_error(class_zip: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        _add_entry(class_zip, "Class1/Train/Thumbs.db")
    with pytest.raises(UserError, match=r"holds 'Class1/Train/Thumbs.db' twice"):
        ingest(str(class_zip), tmp_path / "out", class_id=1)


def test_an_archive_of_another_class_is_an_error(class_zip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold Class2/Train or Test"):
        ingest(str(class_zip), tmp_path / "out", class_id=2)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_archive_is_an_error(class_zip: Path, tmp_path: Path, size: int) -> None:
    class_zip.write_bytes(class_zip.read_bytes()[:size])
    with pytest.raises(UserError, match=r"Class1\.zip is not a valid \.zip"):
        ingest(str(class_zip), tmp_path / "out", class_id=1)
    assert [p.name for p in tmp_path.iterdir()] == ["Class1.zip"]


def test_names_with_backslashes_give_the_same_dataset(raw: Path, class_zip: Path, tmp_path: Path) -> None:
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(class_zip) as source, zipfile.ZipFile(path, "w") as file:
        file.writestr("data\\Class1\\Train\\", b"")
        for info in source.infolist():
            file.writestr("data\\" + info.filename.replace("/", "\\"), source.read(info))
    assert ingest(str(path), tmp_path / "out", class_id=1).digest == RawManifest.read(raw).digest
    _add_entry(path, "data/Class1/Train/Thumbs.db")
    with pytest.raises(UserError, match=r"holds 'data/Class1/Train/Thumbs.db' twice"):
        ingest(str(path), tmp_path / "other", class_id=1)


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
    class_zip: Path, tmp_path: Path, method: int, title: str
) -> None:
    _set_method(class_zip, "Class1/Test/0003.PNG", method)
    message = rf"entry 'Class1/Test/0003.PNG' is compressed with the method {title}, .*; repack it"
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match=message):
        archive.unpack(class_zip, out, 1)
    outer = tmp_path / "outer.zip"
    with zipfile.ZipFile(outer, "w") as file:
        file.write(class_zip, "dagm/class1.ZIP")
    with pytest.raises(UserError, match=message):
        archive.unpack(outer, out, 1)
    _set_method(outer, "dagm/class1.ZIP", method)
    with pytest.raises(UserError, match=f"'dagm/class1.ZIP' is compressed with the method {title}"):
        archive.unpack(outer, out, 1)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_damaged_data_of_every_compression_method_are_an_error(tmp_path: Path, method: int) -> None:
    path = tmp_path / "Class1.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("Train/0001.PNG", os.urandom(1000))
    content = bytearray(path.read_bytes())
    content[60:70] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"Class1\.zip is not a valid \.zip"):
        ingest(str(path), tmp_path / "out", class_id=1)


def test_a_file_that_only_has_the_name_of_a_zip_is_named_as_what_it_is(raw: Path, tmp_path: Path) -> None:
    tar = shutil.make_archive(str(tmp_path / "a"), "gztar", raw / "Test" / "Label")
    Path(tar).rename(tmp_path / "Class1.zip")
    with pytest.raises(UserError, match=r"Class1\.zip is a gzip file, such as \.tar\.gz, not a \.zip"):
        ingest(str(tmp_path / "Class1.zip"), tmp_path / "out", class_id=1)


def test_an_archive_of_another_kind_in_a_zip_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("dagm/Class1.7z", b"x")
    with pytest.raises(UserError, match=r"of DAGM2007; dagm/Class1\.7z is a 7z archive: unpack it"):
        ingest(str(tmp_path / "all.zip"), tmp_path / "out", class_id=1)
