"""The report of an evaluation in a real browser."""

from pathlib import Path

import pytest
from visits import Visit

VISIBLE = """elements => elements.map(e => {
  const box = e.getBoundingClientRect();
  return [box.width, box.height, e.naturalWidth ?? 1];
})"""


@pytest.fixture
def opened(visit: Visit, evaluation: Path) -> Visit:
    visit.page.goto((evaluation / "report.html").as_uri())
    visit.page.wait_for_load_state("load")
    return visit


def test_the_report_opens_without_errors_and_loads_no_other_file(opened: Visit, evaluation: Path) -> None:
    assert opened.errors == []
    assert opened.remote() == []
    assert [url for url in opened.requests if url.startswith("file:")] == [
        (evaluation / "report.html").as_uri()
    ]


def test_curves_and_pictures_are_visible(opened: Visit, tmp_path: Path) -> None:
    opened.page.screenshot(path=tmp_path / "report.png", full_page=True)
    for selector, count in (("figure svg", 4), ("figure img", 6)):
        boxes = opened.page.locator(selector).evaluate_all(VISIBLE)
        assert len(boxes) == count
        assert all(width > 200 and height > 80 and natural > 0 for width, height, natural in boxes)
    lines = opened.page.locator("figure svg g[id*=line2d] path").evaluate_all(VISIBLE)
    assert sum(width > 50 or height > 50 for width, height, _ in lines) >= 5  # the curves themselves
    assert (tmp_path / "report.png").stat().st_size > 20_000


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_scroll_sideways(opened: Visit, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_colour_schemes(opened: Visit, scheme: str) -> None:
    opened.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    text, background = (
        opened.page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("color", "backgroundColor")
    )
    light, dark = sorted((_luminance(text), _luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 7  # WCAG AAA
    assert (_luminance(background) > 0.5) == (scheme == "light")
    axis = opened.page.locator("figure svg text").first.evaluate("e => getComputedStyle(e).fill")
    assert axis == text


def test_the_table_of_all_images_can_be_expanded(opened: Visit) -> None:
    rows = opened.page.locator("details tbody tr")
    assert rows.count() == 16
    assert not rows.first.is_visible()
    opened.page.locator("summary").click()
    assert rows.first.is_visible()


def _luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2) of a CSS colour `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
