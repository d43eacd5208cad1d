"""The measurement of both servers, as real processes with a tiny image size."""

import json
from pathlib import Path

import psutil
import pytest

from tinyunet.bench import engines, serve
from tinyunet.bench.bench import bench
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.serve import CLIENTS, Contender
from tinyunet.core.errors import UserError


def test_both_servers_are_started_asked_and_ended(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    bench(BenchConfig(image_size=32, rounds=1, seconds=0.0, only="serve"), tmp_path / "bench.json")
    result = json.loads((tmp_path / "bench.json").read_text())
    names = [*(f"tinyunet {precision}" for precision in engines.precisions()), "MLflow"]
    assert list(result["serve"]) == names
    for figures in result["serve"].values():
        assert set(figures) == {"images_per_s", "first_answer_s", "answer_ms"}
        assert figures["answer_ms"]["count"] == 2 * CLIENTS
        assert figures["first_answer_s"]["median"] > 0
    assert result["ratios"][f"{names[0]} / MLflow"]["median"] > 0
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_a_server_that_does_not_start_is_an_error_with_its_last_line(tmp_path: Path) -> None:
    contender = Contender(("python3", "-c", "raise SystemExit('no model')"), "inspect", "image/png", b"")
    with (
        pytest.raises(UserError, match="the server did not answer: no model; --only"),
        serve._running(contender, tmp_path / "log"),
    ):
        pass
