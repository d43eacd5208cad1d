"""The result of one small measurement, and an interrupted one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bench.layers import MULTIPLY_ADDS
from tinyunet.bench.bench import bench
from tinyunet.bench.config import BenchConfig
from tinyunet.model.precision import resolve_precision


def test_every_figure_is_a_finite_positive_number(measured: dict[str, Any]) -> None:
    numbers = [
        number
        for group in ("train", "predict", "input", "kernels", "convert")
        for case in measured[group].values()
        for figure in case.values()
        for number in figure.values()
    ]
    numbers += [number for ratio in measured["ratios"].values() for number in ratio.values()]
    assert len(numbers) > 40  # float32 alone gives so many; two precisions give more
    assert all(math.isfinite(number) and number > 0 for number in numbers)


def test_settings_ratios_and_skipped_groups_are_recorded(measured: dict[str, Any]) -> None:
    assert f"train {resolve_precision('auto')} / plain Keras" in measured["ratios"]
    assert not any(name.startswith("train float32 / float32") for name in measured["ratios"])
    assert measured["settings"]["multiply_adds_per_image"] == MULTIPLY_ADDS
    assert measured["skipped"] == {"ranks": "--ranks 1 asks for one rank"}


def test_an_interrupted_measurement_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Callable[[float], object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tinyunet.bench.bench.input_cases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench(BenchConfig(image_size=32, only="input"), tmp_path / "bench.json")
    assert list(tmp_path.iterdir()) == [tmp_path / "scratch"]
    assert list((tmp_path / "scratch").iterdir()) == []
