"""Progress lines and throughput without a terminal, with a clock that the test sets."""

import time

import numpy as np
import pytest

from tests.unit.examples import records_manifest
from tinyunet.core.config import TrainConfig
from tinyunet.training.progress import ProgressMeter, print_summary


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_throughput_is_that_since_the_last_update(clock: list[float]) -> None:
    meter = ProgressMeter(100, start=10, global_batch=16, show=False)
    clock[0] += 2
    assert meter.update(20, 0.5) == pytest.approx(10 / 2 * 16)
    clock[0] += 4
    assert meter.update(30, 0.5) == pytest.approx(10 / 4 * 16)


def test_a_run_prints_25_lines_with_the_remaining_time(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressMeter(100, start=0, global_batch=8) as meter:
        for step in range(1, 101):
            clock[0] += 0.5
            meter.update(step, 0.25)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 25
    assert lines[0] == "step 4/100  loss 0.2500  16.0 img/s  ETA 0:48"
    assert lines[-1] == "step 100/100  loss 0.2500  16.0 img/s  ETA 0:00"


def test_other_ranks_print_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    meter = ProgressMeter(1, start=0, global_batch=8, show=False)
    clock[0] += 1
    meter.update(1, 0.5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            TrainConfig(),
            "128×128 patches, steps 0 to 400, global batch 16 = 2 rank(s) × 8, float32,",
        ),
        (TrainConfig(image_size=64, patch=0), "64×64, steps 0 to 400,"),
    ],
)
def test_the_first_line_says_whether_patches_or_resized_images_are_trained(
    config: TrainConfig, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = records_manifest(dataset="part-7", category="")
    defective = np.array([True, False, False])
    print_summary(manifest, config, start=0, ranks=2, precision="float32", defective=defective)
    assert capsys.readouterr().out.startswith(f"training part-7: fast, {words}")


def test_the_first_line_says_what_a_data_set_without_clean_images_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for clean, end in (1, "1 clean images\n"), (0, "0 clean images (clean_fraction is 0 without them)\n"):
        defective = np.array([True, not clean])
        print_summary(
            records_manifest(), TrainConfig(), start=0, ranks=1, precision="float32", defective=defective
        )
        assert end in capsys.readouterr().out
