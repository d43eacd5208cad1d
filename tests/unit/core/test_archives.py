"""Kinds of archives."""

import shutil
from pathlib import Path

import pytest

from tinyunet.core.archives import describe_archives, kind_by_content, kind_by_name


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.tar.GZ", "tar"), ("a.tgz", "tar"), ("a.7z", "7z"), ("a.rar", "RAR"), ("a.zip", None), ("tar", None)],
)
def test_the_kind_of_an_archive_is_known_from_its_name(name: str, kind: str | None) -> None:
    assert kind_by_name(name) == kind


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("tar", "a tar archive"),
        ("gztar", "a gzip file, such as .tar.gz"),
        ("xztar", "an xz file"),
        ("zip", None),
    ],
)
def test_the_kind_of_an_archive_is_known_from_its_content(
    tmp_path: Path, form: str, kind: str | None
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("x")
    assert kind_by_content(Path(shutil.make_archive(str(tmp_path / "out"), form, tmp_path / "in"))) == kind


def test_a_web_page_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "Class1.zip").write_text("<!DOCTYPE html><title>Sign in</title>")
    assert kind_by_content(tmp_path / "Class1.zip") == "a web page"


def test_at_most_three_archives_are_described() -> None:
    assert describe_archives(["a.png", "b.zip"]) == ""
    text = describe_archives(f"{n}.7z" for n in range(5))
    assert text.startswith(
        "; 0.7z is a 7z archive, 1.7z is a 7z archive, 2.7z is a 7z archive and 2 more: unpack"
    )
