"""The curve of quality against seconds has every series, and repeats nothing that it has."""

import json
import shutil
from pathlib import Path

from tests.studies.curve import SERIES, SPEED_STEPS, draw, judge, seconds_per_step
from tinyunet.core.documents.model import ModelDocument


def test_the_figure_has_every_series_and_is_the_same_again(tmp_path: Path) -> None:
    points = [
        {"seconds": 20.0, "dice": 0.8, "image_ap": 1.0},
        {"seconds": 40.0, "dice": 0.85, "image_ap": 1.0},
    ]
    for name in ("one.svg", "two.svg"):
        draw(dict.fromkeys(SERIES, points), tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert all(series in text for series in SERIES)
    assert text == (tmp_path / "two.svg").read_text()


def test_scores_and_trainings_that_exist_are_read(model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "speed-patch=96"
    kept.mkdir()
    shutil.copy(model / "model.json", kept)
    rates = [1.0] * (SPEED_STEPS // 4) + [32.0] * (SPEED_STEPS - SPEED_STEPS // 4)
    (kept / "history.csv").write_text("images_per_s\n" + "\n".join(map(str, rates)) + "\n")
    (kept / "validation.json").write_text(json.dumps({"dice": 0.5}))
    assert judge(tmp_path / "absent", kept) == {"dice": 0.5}
    batch = ModelDocument.read(model).train.global_batch
    assert seconds_per_step(tmp_path / "absent", tmp_path, "--patch=96") == batch / 32
