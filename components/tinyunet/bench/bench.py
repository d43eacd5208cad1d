"""Measure this machine: every part of the project, in turn, medians with spread, one JSON file.

What is compared is measured in turn, round by round, so that a machine whose speed drifts does not
favour one side; ratios are taken within a round. Figures are of this run on this machine; ratios travel
better than seconds. How each figure is measured is said where it is: `compute` for train, predict
and input, `ranks` for split and ranks, `kernels` for what is inside a step, `children` for
convert, start and memory.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tinyunet.bench.children import convert_cases, memory_cases, start_cases, without_ranks
from tinyunet.bench.compute import input_cases, multiply_adds, precisions, predict_cases, train_cases
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.kernels import kernels_cases, without_kernels
from tinyunet.bench.measure import Case, Values
from tinyunet.bench.ranks import ranks_cases
from tinyunet.bench.report import UNITS, figures, number, ratios, table
from tinyunet.core.console import cores
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path
from tinyunet.model.precision import cpu_has_bfloat16, resolve_precision
from tinyunet.model.unet import build_unet
from tinyunet.training.distributed import init


def bench(config: BenchConfig, out: Path) -> dict[str, Any]:
    """Measure every case in turn, `config.rounds` times; print a table, write a JSON file.

    Args:
        config: What to measure.
        out: JSON file of all figures, written whole or not at all.

    Returns:
        Its content: `machine` and `settings`; per group and case the figures (median, minimum, maximum, or
        percentiles of steps); `ratios`; and `skipped`, the reason for each group that cannot be measured.

    Raises:
        UserError: if `out` cannot be written, or a process that measures fails.
    """
    _check(out)
    init()  # a GPU's memory then grows with its use, and leaves some for the other processes
    skipped = _skipped(config)
    groups = [group for group in config.groups() if group not in skipped]
    with tempfile.TemporaryDirectory(prefix="tinyunet-bench-") as scratch:
        values = _rounds(config, groups, _cases(config, groups, Path(scratch)))
    result = {"machine": machine(), "settings": _settings(config), **figures(values)}
    result |= {"ratios": ratios(values, config, precisions()[-1]), "skipped": skipped}
    print("\n".join(table(result)))
    with atomic_path(out) as part:
        part.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{out}: all figures")
    return result


def machine() -> dict[str, str]:
    """Name the processor, its cores, the devices and the versions that figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": str(cores()),
        "bfloat16": str(cpu_has_bfloat16()),
        "gpus": ", ".join(gpu.name for gpu in gpus) or "none",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _cases(config: BenchConfig, groups: Sequence[str], scratch: Path) -> dict[str, Case]:
    """Prepare what the groups need, traced and warm."""
    builders: dict[str, Callable[[], dict[str, Case]]] = {
        "train": lambda: train_cases(config),
        "predict": lambda: predict_cases(config),
        "input": lambda: input_cases(config),
        "split": lambda: ranks_cases(config),
        "ranks": lambda: ranks_cases(config),  # the same processes measure both
        "kernels": lambda: kernels_cases(config),
        "convert": lambda: convert_cases(scratch),
        "start": lambda: start_cases(config, scratch),
        "memory": lambda: memory_cases(config),
    }
    cases: dict[str, Case] = {}
    for group in groups:
        print(f"preparing {group}", flush=True)
        cases |= builders[group]()
    return cases


def _rounds(config: BenchConfig, groups: Sequence[str], cases: dict[str, Case]) -> Values:
    """Measure every case in turn, round by round, with a line for each."""
    values: Values = {}
    total, start = config.rounds * len(cases), time.monotonic()
    for done, name in enumerate(list(cases) * config.rounds, start=1):
        found = {k: v for k, v in cases[name](config.seconds).items() if k.group in groups}
        for key, taken in found.items():
            values.setdefault(key, []).extend(taken)
        key, taken = next(iter(found.items()))
        left = (time.monotonic() - start) / done * (total - done)
        figure = f"{number(taken[-1]):>8} {UNITS[key.figure]}"
        print(f"{done:3}/{total}  {name:34}{figure:24}{left:6.0f} s left", flush=True)
    return values


def _settings(config: BenchConfig) -> dict[str, Any]:
    recipe = config.recipe()
    return {
        **config.to_dict(),
        "groups": config.groups(),
        "global_batch": recipe.global_batch,
        "precision": resolve_precision(recipe.precision),
        "multiply_adds_per_image": multiply_adds(build_unet(config.image_size, plain=True)),
    }


def _skipped(config: BenchConfig) -> dict[str, str]:
    """Give the groups that cannot be measured here, and why; without `ranks`, `split` is of one rank only."""
    asked, ranks, kernels = set(config.groups()), without_ranks(config.ranks), without_kernels()
    skipped = {"ranks": ranks} if ranks and {"ranks", "split"} & asked else {}
    return skipped | ({"kernels": kernels} if kernels and "kernels" in asked else {})


def _check(out: Path) -> None:
    """Refuse an unusable output now rather than after minutes."""
    folder = next(p for p in out.absolute().parents if p.exists())
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(
            f"{out} cannot be written; expected a file in a folder of yours, choose another --out"
        )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
