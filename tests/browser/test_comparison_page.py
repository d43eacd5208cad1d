"""The table of several classes in a real browser: its links open the report of each class, offline."""

from pathlib import Path

import pytest
from visits import Visit

from tinyunet.evaluation.comparison import compare


@pytest.fixture
def table(evaluation: Path, tmp_path: Path) -> Path:
    compare([evaluation], tmp_path / "table", reports=True)
    return (tmp_path / "table").rename(tmp_path / "moved") / "comparison.html"


def test_the_link_of_a_class_opens_its_report_after_the_folder_was_moved(visit: Visit, table: Path) -> None:
    visit.page.goto(table.as_uri())
    link = visit.page.get_by_role("rowheader").get_by_role("link", name="1", exact=True).first
    link.focus()
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url((table.parent / "report-class1.html").as_uri())
    assert visit.page.title() == "TinyUNet evaluation, DAGM2007 class 1"
    assert visit.errors == []
    assert visit.remote() == []


def test_links_are_mentioned_only_if_the_folder_contains_the_reports(
    visit: Visit, table: Path, evaluation: Path, tmp_path: Path
) -> None:
    compare([evaluation], tmp_path / "no-reports")
    for page, linked in ((table, True), (tmp_path / "no-reports" / "comparison.html", False)):
        visit.page.goto(page.as_uri())
        assert visit.page.get_by_text("The first column leads to the report").is_visible() is linked
        assert (visit.page.get_by_role("link").count() > 0) is linked


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_scroll_sideways(visit: Visit, table: Path, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    visit.page.goto(table.as_uri())
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
