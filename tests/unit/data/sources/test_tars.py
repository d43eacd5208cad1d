"""Unpacking of tar archives."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.sources.source import open_source


def _tar(path: Path, *members: tuple[str, dict[str, object]], mode: str = "w") -> Path:
    """Write an archive with members of 3 bytes, whose attributes are given."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, attributes in members:
            info = tarfile.TarInfo(name)
            info.size = 3
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.addfile(info, io.BytesIO(b"abc"))
    return path


@pytest.mark.parametrize("form", ["tar", "gztar", "bztar", "xztar"])
def test_every_compression_gives_the_same_files(tmp_path: Path, form: str) -> None:
    (tmp_path / "in" / "images").mkdir(parents=True)
    for name in ("images/a.png", ".hidden", "images/._a.png"):
        (tmp_path / "in" / name).write_text(name)
    archive = shutil.make_archive(str(tmp_path / "part"), form, tmp_path / "in")
    with open_source(archive, tmp_path / "scratch") as tree:
        assert tree.names == ("images/a.png",)
        assert tree.read("images/a.png") == b"images/a.png"
        assert tree.location == archive
    assert not (tmp_path / "scratch").exists()


def test_a_link_inside_the_archive_is_kept(tmp_path: Path) -> None:
    link = ("b.png", {"type": tarfile.SYMTYPE, "linkname": "a.png", "size": 0})
    with open_source(str(_tar(tmp_path / "a.tar", ("a.png", {}), link)), tmp_path / "scratch") as tree:
        assert tree.read("b.png") == b"abc"


@pytest.mark.parametrize(
    ("name", "attributes", "reason"),
    [
        ("../evil.png", {}, "entry '../evil.png' has a path outside the folder"),
        ("/tmp/evil.png", {}, "entry '/tmp/evil.png' has an absolute path"),
        ("a/../../evil.png", {}, "has a path outside the folder"),
        ("x", {"type": tarfile.SYMTYPE, "linkname": "../../etc", "size": 0}, "is a link to a file outside"),
        ("x", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, "is a link to a file outside"),
        ("x", {"type": tarfile.LNKTYPE, "linkname": "../evil", "size": 0}, "is a link to a file outside"),
        ("x", {"type": tarfile.FIFOTYPE, "size": 0}, "is a special file"),
        ("x", {"type": tarfile.CHRTYPE, "size": 0}, "is a special file"),
    ],
)
def test_a_dangerous_entry_is_an_error_and_nothing_remains(
    tmp_path: Path, name: str, attributes: dict[str, object], reason: str
) -> None:
    archive = _tar(tmp_path / "a.tar", ("good.png", {}), (name, attributes))
    with (
        pytest.raises(UserError, match=reason) as caught,
        open_source(str(archive), tmp_path / "new" / "scratch"),
    ):
        pass
    assert str(caught.value).startswith(str(archive))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new" / "scratch").exists()
    assert not (tmp_path / "evil.png").exists()


def test_a_very_high_compression_ratio_is_an_error(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = 20_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with (
        pytest.raises(UserError, match="would unpack to 1 files of 20000000 bytes"),
        open_source(str(tmp_path / "bomb.tar.gz"), tmp_path / "scratch"),
    ):
        pass


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("content", [b"", b"no archive", b"<!doctype html>"])
def test_another_file_under_the_name_of_a_tar_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with (
        pytest.raises(UserError, match=r"is not a valid tar archive \(.*\); download it again"),
        open_source(str(tmp_path / name), tmp_path / "scratch"),
    ):
        pass


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_truncated_tar_is_an_error(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"a.tar{mode[1:].replace(':', '.')}"
    _tar(path, *((f"{n}.png", {}) for n in range(99)), mode=mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        pytest.raises(UserError, match="is not a valid tar archive"),
        open_source(str(path), tmp_path / "scratch"),
    ):
        pass
