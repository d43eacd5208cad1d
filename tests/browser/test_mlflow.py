"""The pages of a real MLflow server in real Chromium, as a user reviews them after a run."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.visits import Visit
from tests.conftest import Registered, Services
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.tracking.tracker import Tracker

WAIT_MS = 60_000
DESCRIPTION = "Not comparable with NVIDIA's published numbers"  # shown above the metrics
NAME = "class1-fast-64px-seed0"
BENIGN = (
    "users/current: HTTP 404",  # the page requests the current user; this server has no login
    "the server responded with a status of 404",  # the console message for the same request
    "ResizeObserver loop completed",  # a notice of the browser about charts and tables of variable size
    "net::ERR_ABORTED",  # a request that ended because the next page was opened
)


@pytest.fixture
def ui(visit: Visit, services: Services, registered: Registered) -> Iterator[Visit]:
    """A page; after the test it must have no request to another host and no error beyond `BENIGN`."""
    visit.page.set_default_timeout(WAIT_MS)
    yield visit
    assert visit.remote(urlsplit(services.env["MLFLOW_TRACKING_URI"]).netloc) == []
    assert [e for e in visit.errors if not any(words in e for words in BENIGN)] == []


@pytest.fixture
def base(services: Services, registered: Registered) -> str:
    """The address of the registered model's run."""
    client = mlflow.MlflowClient(services.env["MLFLOW_TRACKING_URI"])
    run = client.get_run(registered.result.run_id).info
    return f"{services.env['MLFLOW_TRACKING_URI']}/#/experiments/{run.experiment_id}/runs/{run.run_id}"


def expect_text(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=WAIT_MS)


def save_screenshot(page: Page, folder: Path, name: str) -> None:
    """Save a picture of the page in pytest's temporary folder."""
    page.screenshot(path=folder / f"{name}.png")


def count_charts(page: Page) -> int:
    """Count the visible charts that show a line or a bar."""
    drawn = page.locator(".js-plotly-plot:has(.scatterlayer path.js-line, .barlayer path)")
    expect(drawn.first).to_be_visible(timeout=WAIT_MS)
    boxes = [chart.bounding_box() for chart in drawn.all() if chart.is_visible()]
    return sum(box is not None and box["width"] > 100 and box["height"] > 100 for box in boxes)


def test_the_experiment_lists_the_run_with_a_link(ui: Visit, base: str, tmp_path: Path) -> None:
    ui.page.goto(base.rsplit("/", 1)[0])
    link = ui.page.locator(f"a[href$='{base.rsplit('/', 1)[1]}']").filter(has_text=NAME)
    expect(link).to_be_visible(timeout=WAIT_MS)
    expect_text(ui.page, re.compile("dagm-class1-train"))
    save_screenshot(ui.page, tmp_path, "experiment")
    link.click()
    expect(ui.page.get_by_role("heading", name=NAME)).to_be_visible(timeout=WAIT_MS)


def test_a_run_shows_parameters_metrics_datasets_and_its_model(ui: Visit, base: str, tmp_path: Path) -> None:
    ui.page.goto(base)
    for text in (
        "Finished",
        "tinyunet train",
        "global_batch",
        "test_dice_defective",
        "tinyunet-dagm-class1",
        DESCRIPTION,
    ):
        expect_text(ui.page, text)
    row = ui.page.get_by_role("row").filter(has_text=re.compile("^global_batch"))
    expect(row).to_contain_text("8")
    save_screenshot(ui.page, tmp_path, "run")


def test_the_curves_are_shown(ui: Visit, base: str, tmp_path: Path) -> None:
    ui.page.goto(f"{base}/model-metrics")
    assert count_charts(ui.page) >= 4
    save_screenshot(ui.page, tmp_path, "curves")
    ui.page.get_by_placeholder("Search metric charts").fill("gradient_norm")
    expect(ui.page.locator(".js-plotly-plot")).to_have_count(1, timeout=WAIT_MS)
    expect(ui.page.locator(".js-plotly-plot .scatterlayer path.point")).to_have_count(12, timeout=WAIT_MS)
    save_screenshot(ui.page, tmp_path, "gradient_norm")


def test_system_metrics_are_shown(ui: Visit, base: str, tmp_path: Path) -> None:
    ui.page.goto(f"{base}/system-metrics")
    expect_text(ui.page, re.compile("cpu_utilization"))
    assert count_charts(ui.page) >= 4
    save_screenshot(ui.page, tmp_path, "system")


def test_the_report_is_shown_among_the_artifacts(
    ui: Visit, base: str, registered: Registered, tmp_path: Path
) -> None:
    ui.page.goto(f"{base}/artifacts/{registered.result.evaluation}/report.html")
    expect_text(ui.page, "model_card.md")
    inside = ui.page.frame_locator("iframe")
    expect(inside.get_by_role("heading", name="TinyUNet on DAGM2007 class 1")).to_be_visible(timeout=WAIT_MS)
    assert inside.locator("svg, img").count() >= 4
    save_screenshot(ui.page, tmp_path, "report")


def test_an_overlay_is_shown_as_a_picture(
    ui: Visit, base: str, registered: Registered, tmp_path: Path
) -> None:
    picture = sorted((registered.evaluation / "overlays").iterdir())[0]
    with Image.open(picture) as opened:
        width, height = opened.size
    path = f"{registered.result.evaluation}/overlays/{picture.name}"
    ui.page.goto(f"{base}/artifacts/{path}")
    expect_text(ui.page, path)
    shown = "([w, h]) => [...document.images].some(i => i.naturalWidth == w && i.naturalHeight == h)"
    ui.page.wait_for_function(shown, arg=[width, height])
    save_screenshot(ui.page, tmp_path, "overlay")


def test_the_registry_shows_the_champion_with_its_model_card(
    ui: Visit, services: Services, registered: Registered, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tinyunet.registry.register import register

    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    result = register(registered.model, registered.evaluation, name="shown")  # only this test uses this name
    models = f"{services.env['MLFLOW_TRACKING_URI']}/#/models/{result.name}"
    ui.page.goto(models)
    expect_text(ui.page, "Version 1")
    expect_text(ui.page, "Finds and outlines surface defects")
    expect_text(ui.page, re.compile("champion"))
    save_screenshot(ui.page, tmp_path, "model")
    ui.page.goto(f"{models}/versions/1")
    expect_text(ui.page, "Model card: TinyUNet, DAGM2007 class 1")
    expect(ui.page.get_by_role("status", name="champion")).to_be_visible(timeout=WAIT_MS)
    expect(ui.page.get_by_role("link", name=NAME)).to_be_visible(timeout=WAIT_MS)
    save_screenshot(ui.page, tmp_path, "version")


def test_two_runs_can_be_compared(
    ui: Visit, services: Services, records: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "compare")
    ids = []
    for seed in (0, 1):
        tracker = Tracker()
        ids.append(
            tracker.start(
                f"seed{seed}",
                params={"seed": seed, "steps": 3},
                tags={},
                dataset=RecordsManifest.read(records),
                run_key=f"compare-{seed}",
            )
        )
        tracker.log_history([{"step": step, "loss": 1 / (step + seed)} for step in (1, 2, 3)])
        tracker.finish("FINISHED")
    experiment = mlflow.MlflowClient().get_run(ids[0]).info.experiment_id
    runs = ",".join(f'"{run_id}"' for run_id in ids)
    uri = services.env["MLFLOW_TRACKING_URI"]
    ui.page.goto(f'{uri}/#/compare-runs?runs=[{runs}]&experiments=["{experiment}"]')
    for text in ("seed0", "seed1", re.compile("Comparing 2 Runs")):
        expect_text(ui.page, text)
    save_screenshot(ui.page, tmp_path, "compare")
