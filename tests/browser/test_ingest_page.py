"""The verification report of `ingest` in a real browser: it needs no other file, and shows its pictures."""

from dataclasses import replace
from pathlib import Path

import pytest
from visits import Visit

from tests.unit.data.conftest import report_of
from tinyunet.data.ingest import build_manifest
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.data.ingestion.report import render
from tinyunet.data.layouts.base import Problem


def test_the_verification_report_opens_offline_with_visible_bars_and_counts(
    visit: Visit, raw: Path, tmp_path: Path
) -> None:
    visit.page.goto((raw / "report.html").as_uri())
    visit.page.wait_for_load_state("load")
    assert visit.errors == []
    assert visit.remote() == []
    text = visit.page.inner_text("body")
    assert "24" in text
    assert "16" in text
    shapes = visit.page.locator("svg rect, svg path").evaluate_all(
        "e => e.map(x => x.getBoundingClientRect().height)"
    )
    assert sum(height > 5 for height in shapes) >= 5, "the histogram of grey levels is drawn"
    visit.page.screenshot(path=tmp_path / "ingest.png", full_page=True)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("width", [1280, 390])
def test_problems_are_listed_first_and_the_page_does_not_scroll_sideways(
    visit: Visit, class1: Path, tmp_path: Path, width: int
) -> None:
    problems = tuple(
        Problem(f"Train/{i:04d}" + "-of-a-long-name" * 6 + ".PNG", "is damaged") for i in range(200)
    )
    report = replace(report_of(class1, tmp_path / "raw"), problems=problems)
    manifest = build_manifest(report, str(class1), IngestOptions(), "dagm")
    (tmp_path / "page.html").write_text(render(report, manifest, tmp_path / "raw"), encoding="utf-8")
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.goto((tmp_path / "page.html").as_uri())
    assert visit.page.get_by_text("200 problems.").is_visible()
    titles = visit.page.get_by_role("heading", level=2).all_inner_texts()
    assert titles == ["Problems", "Counts", "Area of the masks", "Images and their masks"]
    top = visit.page.get_by_role("heading", name="Counts").bounding_box()
    assert top is not None
    assert top["y"] < 900, "a long list has its own scroll bar"
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
