"""Several sources joined by `+`."""

from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import picture
from tinyunet.core.errors import UserError
from tinyunet.data.sources.joined import absolute, split_sources
from tinyunet.data.sources.source import check_scheme, check_source, remove_credentials


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the folders a, b and a+b, and c++."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "a+c", "c++"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images" / "1.png").write_bytes(picture())
    return tmp_path


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("a", ("a",)),
        ("a+b", ("a", "b")),
        ("a+c", ("a+c",)),  # a folder of this name exists
        ("c+++a+b", ("c++", "a", "b")),
        ("a+c++", ("a", "c++")),
        ("a+missing", ("a+missing",)),
        ("s3://x/review+s3://x/part-7", ("s3://x/review", "s3://x/part-7")),
        ("s3://x/a+b", ("s3://x/a+b",)),  # the name of an object, though a folder b exists
        ("s3://x/a+./b", ("s3://x/a", "./b")),
        ("a+s3://x/y", ("a", "s3://x/y")),
        ("https://h/1+2.zip+synthetic://?train=4", ("https://h/1+2.zip", "synthetic://?train=4")),
        ("HTTPS://Host/X.zip", ("https://Host/X.zip",)),
        ("a+S3://x/Y+SYNTHETIC://?train=4", ("a", "s3://x/Y", "synthetic://?train=4")),
        ("+a", ("+a",)),
        ("a+", ("a+",)),
    ],
)
def test_a_plus_separates_where_another_source_begins(
    folder: Path, source: str, parts: tuple[str, ...]
) -> None:
    assert split_sources(source) == parts


def test_local_parts_become_absolute(folder: Path) -> None:
    assert absolute("a+s3://x/y") == f"{folder}/a+s3://x/y"
    assert absolute("a+b") == f"{folder}/a+{folder}/b"
    assert absolute("missing") == f"{folder}/missing"
    assert split_sources(absolute("a+b")) == (f"{folder}/a", f"{folder}/b")


def test_every_part_loses_its_credentials() -> None:
    source = "https://me:pw@host/a.zip?token=s+s3://x/y"
    assert remove_credentials(source) == "https://host/a.zip+s3://x/y"
    assert remove_credentials("HTTPS://me:pw@host/A.zip?token=s") == "https://host/A.zip"


def test_every_part_is_checked(folder: Path) -> None:
    check_source("a+b")
    with pytest.raises(UserError, match="ftp URL"):
        check_source("a+ftp://host/b")
    with pytest.raises(UserError, match=r"a\+missing does not exist"):
        check_source("a+missing")


def test_the_scheme_is_that_of_the_last_part(folder: Path) -> None:
    assert check_scheme("s3://x/a+synthetic://") == "synthetic"
    assert check_scheme("s3://x/a+./b") == ""
    assert check_scheme("SYNTHETIC://?train=4") == "synthetic"


def test_a_name_that_is_too_long_for_a_file_is_no_path() -> None:
    source = "a+" * 3000
    assert split_sources(source) == (source,)
