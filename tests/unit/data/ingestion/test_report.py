import base64
import re
from pathlib import Path

import pytest

from tests.unit.data.conftest import copy_class
from tinyunet.data.ingest import ingest
from tinyunet.data.ingestion.report import histogram


def test_the_page_needs_no_other_file(raw: Path) -> None:
    page = (raw / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "No problems found." in page
    assert "The images are generated" in page
    assert page.count("data:image/png;base64,") == 14  # of each split: 3 × (image, mask), and 1 image
    first = re.search(r"data:image/png;base64,([^\"]+)", page)
    assert first
    assert base64.b64decode(first[1]).startswith(b"\x89PNG")


def test_file_names_cannot_inject_markup_into_the_page(class1: Path, tmp_path: Path) -> None:
    copy_class(class1, tmp_path / "in")
    (tmp_path / "in" / "Train" / "<script>.txt").write_text("x")
    ingest(str(tmp_path / "in"), tmp_path / "out", category="class1")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "&lt;script&gt;.txt" in page
    assert "<script>" not in page


def test_the_bars_of_the_histogram_are_counts() -> None:
    bars = histogram([1.0, 1.5, 12.0])  # twelve bins of one percent
    assert [bar["count"] for bar in bars] == [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert [bar["height"] for bar in bars][1::10] == [1.0, 0.5]
    assert bars[1]["low"] == pytest.approx(1)
    assert histogram([]) == []
