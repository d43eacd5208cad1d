import base64
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.conftest import copy_class
from tinyunet.data.ingest import ingest
from tinyunet.data.ingestion.report import histogram
from tinyunet.data.pictures import opening


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


def test_images_beyond_the_limit_of_pillow_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, level in (("images", 7), ("masks", 0)):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = np.full((40, 50), level, np.uint16 if kind == "images" else np.uint8)
            pixels[:3, :number] = 255
            Image.fromarray(pixels).save(tmp_path / "in" / kind / f"{number}.png")
    monkeypatch.setattr(opening, "_BAND_PIXELS", 500)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)  # `Image.open` refuses more than 1800
    ingest(str(tmp_path / "in"), tmp_path / "out")
    assert "data:image/png;base64," in (tmp_path / "out" / "report.html").read_text("utf-8")
