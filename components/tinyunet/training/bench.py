"""Measure this machine: images/s of training, inference and input, interleaved, medians with spread.

What is compared is measured in turn, round by round, so that a machine whose speed drifts does not
favour one side. Figures are of this run on this machine; ratios travel better than seconds.
"""

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tinyunet.config import FAST, TrainConfig
from tinyunet.data.dataset import Batch, Split, batches
from tinyunet.model.unet import build_unet, forward_function
from tinyunet.runtime.distributed import World, cpu_has_bfloat16
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep

SECONDS = 2.0  # of each measurement, at least; and at least two calls

Case = tuple[Callable[[], object], int]  # one call, and the images that it works on


def bench(*, image_size: int, rounds: int, out: Path) -> dict[str, Any]:
    """Run every case `rounds` times in turn, print a table, write a JSON file.

    Args:
        image_size: Side in pixels, a multiple of 16.
        rounds: Interleaved repetitions.
        out: JSON file of all figures.

    Returns:
        Its content: machine, versions, images/s per case (median, minimum, maximum), ratios.
    """
    config = FAST.replace({"image_size": image_size})
    data = _random_split(image_size)
    cases = _cases(config, data)
    for call, _ in cases.values():
        call()  # tracing and first allocation are not measured
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds):
        for name, (call, images) in cases.items():
            rates[name].append(_rate(call, images))
            print(f"round {turn + 1}/{rounds}  {name:32} {rates[name][-1]:10.2f} img/s", flush=True)
    figures = {name: _spread(values) for name, values in rates.items()}
    result = {"machine": machine(), "image_size": image_size, "rounds": rounds, "images_per_s": figures}
    result["ratios"] = _ratios(figures)
    result["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _print(result)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{out}: all figures")
    return result


def machine() -> dict[str, str]:
    """Name the processor, its cores, the devices and the versions that figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "bfloat16": str(cpu_has_bfloat16()),
        "gpus": ", ".join(gpu.name for gpu in gpus) or "none",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _cases(config: TrainConfig, data: Split) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for precision in ("float32", "mixed_bfloat16"):
        cases[f"train {precision} batch {config.global_batch}"] = _train_case(config, precision, data)
        for size in (1, 16):
            cases[f"predict {precision} batch {size}"] = _predict_case(config, precision, data, size)
    cases["input, one thread"] = _input_case(config, data)
    return cases


def _train_case(config: TrainConfig, precision: str, data: Split) -> Case:
    model = build_unet(config.image_size, precision=precision)
    step = TrainStep(model, build_optimizer(config, precision), config, World())
    count = config.global_batch
    ones = np.ones(count, np.float32)
    batch = Batch(data.images[:count], data.masks[:count], ones, 0 * ones, data.names[:count])
    return lambda: float(step(batch).loss), count


def _predict_case(config: TrainConfig, precision: str, data: Split, size: int) -> Case:
    forward = forward_function(build_unet(config.image_size, precision=precision))
    images = tf.constant(data.images[:size])
    return lambda: forward(images).numpy(), size


def _input_case(config: TrainConfig, data: Split) -> Case:
    source = batches(data, config.replace({"steps": 10**9}), start=0, rank=0, world_size=1)
    return lambda: next(source), config.global_batch


def _random_split(size: int, count: int = 32) -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[::2, size // 4 : size // 2, size // 4 : size // 2] = 255
    names = tuple(f"{i:04d}" for i in range(count))
    return Split("train", images, masks, np.arange(count) % 2 == 0, names)


def _rate(call: Callable[[], object], images: int) -> float:
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < SECONDS:
        call()
        calls += 1
    return calls * images / (time.perf_counter() - start)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _ratios(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    def ratio(case: str) -> float:
        fast, slow = (figures[case.format(p)]["median"] for p in ("mixed_bfloat16", "float32"))
        return fast / slow

    return {"train bfloat16 / float32": ratio(f"train {{}} batch {FAST.global_batch}")} | {
        f"predict bfloat16 / float32, batch {size}": ratio(f"predict {{}} batch {size}") for size in (1, 16)
    }


def _print(result: dict[str, Any]) -> None:
    print("  ".join(f"{key} {value}" for key, value in result["machine"].items()))
    print(f"{'case':34}{'median':>10}{'min':>10}{'max':>10}   img/s at {result['image_size']} px")
    for name, figure in result["images_per_s"].items():
        print(f"{name:34}" + "".join(f"{figure[key]:10.2f}" for key in ("median", "min", "max")))
    for name, value in result["ratios"].items():
        print(f"{name:34}{value:10.2f}")
    print(f"peak memory {result['peak_memory_mib']} MiB")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
