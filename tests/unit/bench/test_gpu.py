"""The check of GPUs, run whole on the CPU with a small network and tiny images."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import tensorflow as tf

from tinyunet.bench.gpu import BYTES, GpuCheck, Line, check, measure_allreduce, plan, table
from tinyunet.bench.profile import sum_kernels
from tinyunet.core.errors import CommandError
from tinyunet.training.distributed import World

TINY = GpuCheck(size=32, batches=(2, 4), seconds=0.0)


def small_network(size: int, precision: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    grey = keras.Input((size, size, 1))
    hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu", dtype=precision)(grey)
    return keras.Model(grey, keras.layers.Conv2D(1, 1, dtype="float32")(hidden))


def diverging_network(size: int, precision: str) -> keras.Model:
    """Return a network whose outputs depend on the precision, as after a fault of the hardware."""
    model = small_network(size, precision)
    if precision == "mixed_float16":
        model.set_weights([2 * w + 1 for w in model.get_weights()])
    return model


def test_the_whole_check_runs_and_its_file_has_what_the_table_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = check(TINY, tmp_path / "gpu.json", small_network)
    document = json.loads((tmp_path / "gpu.json").read_text())
    printed = capsys.readouterr().out
    assert "Trial without a GPU: the figures mean nothing." in printed
    assert ("This TensorFlow is for CPUs" in printed) != tf.test.is_built_with_cuda()
    assert [row["name"] for row in document["lines"]] == [line.name for line in lines]
    assert all(f"| {line.name} |" in printed for line in lines)
    rates = [line.name for line in lines if line.unit == "img/s"]
    assert rates == [
        f"training, batch {count}, {precision}{xla}"
        for count in (2, 4)
        for precision in ("float32", "mixed_float16")
        for xla in ("", ", XLA")
    ]
    assert len(document["kernels_ms"]) == 10
    assert any(name.startswith("Conv2D") or "Conv2D" in name for name in document["kernels_ms"])
    assert document["check"]["size"] == 32


def test_a_loss_that_depends_on_the_precision_is_an_error_after_the_file_is_written(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="above the limit: float16 against float32"):
        check(replace(TINY, batches=(2,)), tmp_path / "gpu.json", diverging_network)
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["lines"][0]["ok"] is False


def test_with_gpus_the_images_have_the_published_size_and_each_gpu_a_rank() -> None:
    assert (plan(8).size, plan(8).batches, plan(8).ranks) == (512, (16, 64), 8)
    assert (plan(0).size, plan(0).ranks) == (32, 1)


def test_the_sum_over_one_rank_is_the_tensor_itself() -> None:
    result = measure_allreduce(World(), 0.0)
    assert result.error == 0.0
    assert len(result.seconds) == len(BYTES)


def test_a_value_above_its_limit_and_a_value_that_is_no_number_are_marked() -> None:
    lines = [Line(name="a", value=0.1, limit=0.2), Line(name="b", value=float("nan"), limit=0.2)]
    assert [line.ok for line in lines] == [True, False]
    found = {"gpus": "GPU:0, GPU:1", "cpu": "c", "tensorflow": "2"}
    text = list(table(found, plan(2), lines, {"sgemm": 1.25}))
    assert text[0] == "GPU:0, GPU:1, c, TensorFlow 2, 512×512."
    assert "| a | 0.1 | 0.2 |" in text
    assert "| b | nan | 0.2, exceeded |" in text
    assert text[-1] == "| `sgemm` | 1.250 |"


def plane(name: str, line: str, events: list[tuple[str, int]]) -> Any:
    """Return a plane of a profile with one line; a duration is in milliseconds."""
    names = dict(enumerate(dict.fromkeys(event for event, _ in events)))
    numbers = {text: number for number, text in names.items()}
    found = [SimpleNamespace(metadata_id=numbers[event], duration_ps=ms * 10**9) for event, ms in events]
    metadata = {number: SimpleNamespace(name=text) for number, text in names.items()}
    return SimpleNamespace(
        name=name, lines=[SimpleNamespace(name=line, events=found)], event_metadata=metadata
    )


def test_kernels_of_gpus_are_added_up_over_streams_and_steps_and_those_of_the_cpu_left_out() -> None:
    planes = [
        plane("/device:GPU:0", "Stream #13", [("cudnn_a", 6), ("sgemm", 4), ("cudnn_a", 6)]),
        plane("/device:GPU:1", "Stream #13", [("sgemm", 2)]),
        plane("/device:GPU:0", "XLA Modules", [("module", 99)]),
        plane("/host:CPU", "tf_Compute/1", [("adam/Sub:Sub", 99)]),
    ]
    assert sum_kernels(planes, count=2, steps=2) == {"cudnn_a": 6.0, "sgemm": 3.0}


def test_operations_of_a_cpu_are_added_up_by_kind_without_the_calls_that_contain_them() -> None:
    events = [("a/Conv2D:Conv2D", 3), ("b/Conv2D:Conv2D", 3), ("ExecutorState::Process", 99), ("x:Sub", 2)]
    planes = [plane("/host:CPU", "tf_Compute/1", events), plane("/host:CPU", "python", [("y:Mul", 99)])]
    assert sum_kernels(planes, count=10, steps=1) == {"Conv2D": 6.0, "Sub": 2.0}
