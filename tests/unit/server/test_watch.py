"""Answers that are watched: drift in the metrics and the log, kept images, and models that change."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engines import write_engine
from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.documents.served import ServedModel
from tinyunet.engine.engine import Inspection
from tinyunet.engine.statistics import measure, names
from tinyunet.server.metrics import Metrics
from tinyunet.server.watch import Watch

SIDE, WAIT_S = 32, 20.0


def image(seed: int, light: float = 1.0) -> NDArray[np.uint8]:
    """Return noise [32, 32, 1] whose light varies by 2 % from image to image."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(100, 20, (SIDE, SIDE, 1)) * rng.normal(light, 0.02)
    return np.clip(levels, 0, 255).astype(np.uint8)


def answer(seed: int) -> Inspection:
    """Return the answer to an image: clean, with the threshold 0."""
    return Inspection(np.zeros((SIDE, SIDE), bool), float(np.random.default_rng(seed).normal(-5, 1)), False)


def engine_with_reference(folder: Path, *, scale: float = 1.0, **changes: object) -> tuple[Path, ServedModel]:
    """Write an engine folder whose reference are 40 images, at the scale of the model."""
    write_engine(folder, scale=scale)
    seeds = range(1000, 1040)
    columns = np.array([measure(image(seed), int(SIDE * scale)) for seed in seeds]).T
    reference = ImageReference(
        image_size=0,
        channels=1,
        images=40,
        defective=(False,) * 40,
        scores=tuple(answer(seed).score for seed in seeds),
        statistics={name: tuple(map(float, column)) for name, column in zip(names(1), columns, strict=True)},
    )
    reference.model_copy(update=changes).write(folder)
    return folder, ServedModel.read(folder)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def drift_score(metrics: Metrics, cause: str) -> float | None:
    return metrics.registry.get_sample_value("tinyunet_drift_score", {"cause": cause})


def show(watch: Watch, seeds: range, light: float = 1.0) -> None:
    for seed in seeds:
        watch.answered(image(seed, light), answer(seed), name=f"{seed}.png")
    assert watch.wait(WAIT_S)


def test_other_light_reaches_the_metrics_and_the_log_once(
    tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(metrics)
    watch.follow(*engine_with_reference(tmp_path / "engine"), "part-7", "4")
    show(watch, range(60))
    assert (drift_score(metrics, "brightness") or 0) < 1
    assert metrics.registry.get_sample_value("tinyunet_drift_window_images") == 50
    show(watch, range(60, 110), light=1.1)
    assert (drift_score(metrics, "brightness") or 0) > 1
    with caplog.at_level(logging.INFO, "tinyunet.server"):
        show(watch, range(110, 200))
    watch.close()
    assert (drift_score(metrics, "brightness") or 0) < 1
    begun = [one.message for one in caplog.records if one.message.startswith("drift:")]
    assert sum("brightness" in message for message in begun) == 1
    assert any("no more drift" in one.message for one in caplog.records)


def test_images_are_compared_at_the_scale_of_the_model(tmp_path: Path, metrics: Metrics) -> None:
    watch = Watch(metrics)
    watch.follow(*engine_with_reference(tmp_path / "engine", scale=0.5), "part-7", "4")
    show(watch, range(60))
    watch.close()
    for cause in ("brightness", "contrast", "sharpness", "texture"):
        assert 0 < (drift_score(metrics, cause) or 0) < 1


def test_images_that_drifted_are_kept_with_their_cause(tmp_path: Path, metrics: Metrics) -> None:
    watch = Watch(metrics, keep=f"{tmp_path / 'review'}?most-uncertain=10")
    watch.follow(*engine_with_reference(tmp_path / "engine"), "part-7", "4")
    show(watch, range(50))
    show(watch, range(50, 110), light=1.3)
    watch.close()
    records = [json.loads(path.read_text()) for path in (tmp_path / "review" / "records").iterdir()]
    drifted = [record for record in records if record["reason"] == "drifted"]
    assert len(drifted) == 10
    assert all("brightness" in record["causes"] and record["model"] == "part-7 4" for record in drifted)
    assert all(int(record["name"].removesuffix(".png")) >= 50 for record in drifted)
    assert len(records) == 20


def test_a_new_model_begins_with_its_own_reference_and_an_empty_window(
    tmp_path: Path, metrics: Metrics
) -> None:
    watch = Watch(metrics)
    watch.follow(*engine_with_reference(tmp_path / "one"), "part-7", "4")
    show(watch, range(60), light=1.3)
    assert (drift_score(metrics, "brightness") or 0) > 1
    watch.follow(*engine_with_reference(tmp_path / "two"), "part-7", "5")
    assert drift_score(metrics, "brightness") == 0
    show(watch, range(60))
    watch.close()
    assert 0 < (drift_score(metrics, "brightness") or 0) < 1


@pytest.mark.parametrize("fault", ["absent", "damaged", "of another size"])
def test_without_a_fitting_reference_there_is_no_drift_but_uncertain_images_are_kept(
    tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    changes = {"image_size": 64} if fault == "of another size" else {}
    folder, document = engine_with_reference(tmp_path / "engine", **changes)
    if fault == "absent":
        (folder / "reference.json").unlink()
    elif fault == "damaged":
        (folder / "reference.json").write_text("{")
    watch = Watch(metrics, keep=str(tmp_path / "review"))
    watch.follow(folder, document, "part-7", "4")
    assert "no drift is computed" in caplog.text
    show(watch, range(5))
    watch.close()
    assert drift_score(metrics, "brightness") is None
    assert len(list((tmp_path / "review" / "images").iterdir())) == 5


def test_watching_delays_no_answer_and_what_is_too_much_is_counted(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(image: NDArray[np.uint8], image_size: int = 0) -> NDArray[np.float64]:
        time.sleep(0.2)
        return measure(image, image_size)

    folder, document = engine_with_reference(tmp_path / "engine")
    monkeypatch.setattr("tinyunet.server.watch.WAITING_BYTES", 5 * 2 * SIDE * SIDE)
    monkeypatch.setattr("tinyunet.engine.statistics.measure", slow)
    watch = Watch(metrics)
    watch.follow(folder, document, "part-7", "4")
    picture, inspection = image(1), answer(1)
    start = time.perf_counter()
    for _ in range(100):
        watch.answered(picture, inspection)
    assert time.perf_counter() - start < 0.2
    assert (metrics.registry.get_sample_value("tinyunet_unwatched_images_total") or 0) >= 90
    watch.close()


def test_before_the_first_model_nothing_is_watched(metrics: Metrics) -> None:
    watch = Watch(metrics)
    watch.answered(image(1), answer(1))
    assert watch.wait(WAIT_S)
    watch.close()
