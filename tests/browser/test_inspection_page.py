"""The page of the inspection server in a real browser, as a person at the line uses it."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from visits import Visit

from tests.inspection_server import TOKEN, Server, picture, start


@pytest.fixture(scope="module")
def server(engine_folder: Path) -> Iterator[Server]:
    with start(engine_folder) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clean image, a defective TIFF, which no browser shows, and a text file."""
    folder = tmp_path_factory.mktemp("images")
    clean = np.full((60, 80, 1), 90, np.uint8)
    spot = clean.copy()
    spot[20:30, 40:60] = 235
    contents = {"clean.png": picture(clean), "spot.tif": picture(spot, "TIFF"), "notes.png": b"no image"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


def test_images_get_verdict_score_regions_and_model(
    visit: Visit, server: Server, files: dict[str, Path], tmp_path: Path
) -> None:
    page = visit.page
    page.goto(server.url)
    expect(page.get_by_text(f"engine version {server.version}").first).to_be_visible()
    page.get_by_label("Drop images here").set_input_files([files["clean.png"], files["spot.tif"]])
    expect(page.get_by_role("status")).to_have_text("2 images: 1 defective, 1 clean")
    cards = page.get_by_role("article")
    assert cards.get_by_role("heading").all_inner_texts() == ["clean.png", "spot.tif"]
    spot = cards.nth(1)
    expect(spot.get_by_text("defective", exact=True).first).to_be_visible()
    expect(spot.get_by_role("img", name=re.compile("spot.tif, defective: 1 region marked"))).to_be_visible()
    assert spot.get_by_role("img", name=re.compile("spot.tif")).evaluate("i => i.naturalWidth") == 80
    assert spot.locator("tbody td").all_inner_texts()[2:4] == ["10", "20"]
    expect(spot.get_by_role("img", name=re.compile(r"score 1\d\.\d\d, threshold 0\.00"))).to_be_visible()
    expect(spot).to_contain_text(f"engine, version {server.version}")
    assert spot.get_by_role("button", name="Hide marking").count() == 0, "the browser cannot show a TIFF"
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert visit.errors == []
    assert visit.remote(f"127.0.0.1:{server.port}") == []


def test_a_file_that_is_no_image_says_why_and_the_others_are_inspected(
    visit: Visit, server: Server, files: dict[str, Path]
) -> None:
    page = visit.page
    page.goto(server.url)
    page.get_by_label("Drop images here").set_input_files([files["notes.png"], files["clean.png"]])
    expect(page.get_by_role("status")).to_have_text("2 images: 0 defective, 1 clean, 1 not inspected")
    card = page.get_by_role("article").first
    expect(card.get_by_text("not inspected", exact=True)).to_be_visible()
    expect(card.get_by_text(re.compile("the image is not a PNG, JPEG"))).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("article")).to_have_count(0)


def test_an_image_can_be_dropped_and_its_marking_hidden(
    visit: Visit, server: Server, files: dict[str, Path]
) -> None:
    page = visit.page
    page.goto(server.url)
    spot = np.full((60, 80, 1), 90, np.uint8)
    spot[20:30, 40:60] = 235
    transfer = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "d.png"));
            return transfer;
        }""",
        list(picture(spot)),
    )
    page.locator("#drop").dispatch_event("drop", {"dataTransfer": transfer})
    card = page.get_by_role("article")
    image = card.get_by_role("img", name=re.compile("d.png, defective"))
    marked = image.get_attribute("src")
    card.get_by_role("button", name="Hide marking").click()
    expect(card.get_by_role("button", name="Show marking")).to_have_attribute("aria-pressed", "true")
    assert image.get_attribute("src") != marked
    card.get_by_role("button", name="Show marking").click()
    assert image.get_attribute("src") == marked


def test_the_page_works_by_keyboard_and_does_not_scroll_sideways(
    visit: Visit, server: Server, files: dict[str, Path]
) -> None:
    page = visit.page
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(server.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "files"
        page.get_by_label("Drop images here").set_input_files(list(files.values()))
        expect(page.get_by_role("status")).to_contain_text("3 images: 1 defective, 1 clean, 1 not")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_server_with_a_token_asks_for_it(
    visit: Visit, engine_folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    page = visit.page
    with start(engine_folder, "--token-file", str(tmp_path / "token")) as server:
        page.goto(server.url)
        page.get_by_label("This server asks for a token").fill(TOKEN)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_text(f"engine version {server.version}").first).to_be_visible()
        expect(page.get_by_label("This server asks for a token")).to_be_hidden()
        page.get_by_label("Drop images here").set_input_files(files["clean.png"])
        expect(page.get_by_role("status")).to_have_text("1 image: 0 defective, 1 clean")
        assert TOKEN not in server.log.read_text()
