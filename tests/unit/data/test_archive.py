import zipfile
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data import archive
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
