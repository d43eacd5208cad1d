"""`tinyunet bench`: the groups that start processes, with two real ranks."""

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.prepared_python import EAGER

PARAMETERS = 1_850_305  # of the published network; the import of `tinyunet.model` would import TensorFlow
GROUPS = ("split", "ranks", "start", "memory")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, python: str) -> dict[str, Any]:
    """The JSON file of these groups; only the processes of the group `start` build graphs."""
    folder = tmp_path_factory.mktemp("bench")
    start = bench(python, folder / "start.json", "start")
    others = bench(python, folder / "others.json", "split", "ranks", "memory", **{EAGER: "1"})
    return others | {"start": start["start"], "skipped": start["skipped"] | others["skipped"]}


def bench(python: str, out: Path, *groups: str, **variables: str) -> dict[str, Any]:
    options = ["--image-size", "32", "--rounds", "1", "--seconds", "0", "--only", ",".join(groups)]
    command = [python, "-m", "tinyunet", "bench", *options, "--out", str(out)]
    result = subprocess.run(
        command, cwd=out.parent, env=os.environ | variables, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return dict(json.loads(out.read_text()))


def test_every_group_has_finite_positive_numbers(measured: dict[str, Any]) -> None:
    for group in GROUPS:
        for case, figures in measured[group].items():
            for figure, spread in figures.items():
                numbers = list(spread.values())
                assert all(math.isfinite(n) and n > 0 for n in numbers), (group, case, figure, numbers)
    assert measured["skipped"] == {}


def test_one_and_two_ranks_are_compared_part_by_part(
    measured: dict[str, Any],
) -> None:
    one, two = measured["ranks"]
    assert one.startswith("1 rank × ")
    assert two.startswith("2 ranks × ")
    assert set(measured["split"]) == {one, two}
    assert f"{two} / {one}" in measured["ratios"]
    assert "allreduce_ms" not in measured["split"][one], "one rank needs no allreduce"
    parts = {"whole_ms", "input_wait_ms", "forward_backward_ms", "allreduce_ms", "optimizer_ms"}
    assert set(measured["split"][two]) == parts


def test_a_step_reduces_every_gradient_and_eight_sums(measured: dict[str, Any]) -> None:
    _, two = measured["ranks"]
    bytes_per_step = measured["ranks"][two]["allreduce_bytes"]["median"]
    assert bytes_per_step == 4 * (PARAMETERS + 8)


def test_the_peak_memory_of_training_and_prediction_is_measured(measured: dict[str, Any]) -> None:
    assert set(measured["memory"]) == {"train", "predict"}
    assert all(case["peak_mib"]["median"] > 100 for case in measured["memory"].values()), "TensorFlow alone"


@pytest.mark.parametrize("case", ["train, 1 rank", "train, 2 ranks"])
def test_the_parts_of_a_start_are_measured_until_the_first_step(measured: dict[str, Any], case: str) -> None:
    seconds = {name: spread["median"] for name, spread in measured["start"][case].items()}
    whole, second = seconds.pop("to_first_step_s"), seconds.pop("second_step_s")
    assert seconds["first_step_s"] > second, "TensorFlow prepares the graph in the first step"
    assert whole == pytest.approx(sum(seconds.values()))
