"""The verification report of `ingest` in a real browser: it stands alone, and its pictures are there."""

from pathlib import Path

from visits import Visit


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
