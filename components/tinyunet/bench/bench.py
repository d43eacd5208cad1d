"""Measurement of every part of the project on this machine; the results go to one JSON file.

All cases are measured one after another in each round, and the rounds are repeated. A machine whose speed
drifts therefore does not favour one side of a comparison. Ratios are computed within a round. The figures
are valid for this run on this machine; ratios are more portable than seconds. The modules describe how each
figure is measured: `compute` for train, predict and input, `ranks` for split and ranks, `kernels` for the
kernels inside a step, `children` for convert, start and memory, `engines` and `serve` for the engine and the
server.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tinyunet.bench.children import convert_cases, memory_cases, ranks_unavailable_reason, start_cases
from tinyunet.bench.compute import input_cases, multiply_adds, precisions, predict_cases, train_cases
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.engines import engine_cases
from tinyunet.bench.kernels import kernels_cases, kernels_unavailable_reason
from tinyunet.bench.measure import Case, Values
from tinyunet.bench.ranks import ranks_cases
from tinyunet.bench.report import UNITS, Report, figures, number, ratios
from tinyunet.bench.serve import serve_cases, serve_unavailable_reason
from tinyunet.core.console import cores
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path
from tinyunet.model.precision import cpu_has_bfloat16, resolve_precision
from tinyunet.model.unet import build_unet
from tinyunet.training.distributed import init


def bench(config: BenchConfig, out: Path) -> Report:
    """Measure every case `config.rounds` times, print a table and write a JSON file.

    Args:
        config: What to measure.
        out: JSON file of all figures; it is written at the end, completely or not at all.

    Raises:
        UserError: if `out` cannot be written, or a measuring process fails.
    """
    _check_writable(out)
    init()  # a GPU's memory then grows with its use, which leaves memory for the other processes
    skipped = _skipped(config)
    groups = [group for group in config.groups() if group not in skipped]
    with tempfile.TemporaryDirectory(prefix="tinyunet-bench-") as scratch:
        values = _rounds(config, groups, _cases(config, groups, Path(scratch)))
    report = Report(
        machine=machine(),
        config=config,
        derived=_derived(config),
        figures=figures(values),
        ratios=ratios(values, config, precisions()[-1]),
        skipped=skipped,
    )
    print("\n".join(report.table()))
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    print(f"{out}: all figures")
    return report


def machine() -> dict[str, str]:
    """Return the processor, its cores, the devices and the versions that figures depend on."""
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
    """Return the cases of the groups, traced and ready to be measured."""
    builders: dict[str, Callable[[], dict[str, Case]]] = {
        "train": lambda: train_cases(config),
        "predict": lambda: predict_cases(config) | engine_cases(config),
        "input": lambda: input_cases(config),
        "split": lambda: ranks_cases(config),
        "ranks": lambda: ranks_cases(config),  # the same processes measure both
        "kernels": lambda: kernels_cases(config),
        "convert": lambda: convert_cases(scratch),
        "start": lambda: start_cases(config, scratch),
        "memory": lambda: memory_cases(config),
        "serve": lambda: serve_cases(config, scratch),
    }
    cases: dict[str, Case] = {}
    for group in groups:
        print(f"preparing {group}", flush=True)
        cases |= builders[group]()
    return cases


def _rounds(config: BenchConfig, groups: Sequence[str], cases: dict[str, Case]) -> Values:
    """Measure every case in each round, and print a line for each measurement."""
    values: Values = {}
    total, start = config.rounds * len(cases), time.monotonic()
    for done, name in enumerate(list(cases) * config.rounds, start=1):
        measured = {k: v for k, v in cases[name](config.seconds).items() if k.group in groups}
        for key, numbers in measured.items():
            values.setdefault(key, []).extend(numbers)
        key, numbers = next(iter(measured.items()))
        remaining = (time.monotonic() - start) / done * (total - done)
        figure = f"{number(numbers[-1]):>8} {UNITS[key.figure]}"
        print(f"{done:3}/{total}  {name:34}{figure:24}{remaining:6.0f} s left", flush=True)
    return values


def _derived(config: BenchConfig) -> dict[str, int | str]:
    recipe = config.recipe()
    return {
        "global_batch": recipe.global_batch,
        "precision": resolve_precision(recipe.precision),
        "multiply_adds_per_image": multiply_adds(build_unet(config.image_size, plain=True)),
    }


def _skipped(config: BenchConfig) -> dict[str, str]:
    """Return the groups that cannot be measured, and why; without `ranks`, `split` covers one rank only."""
    selected = set(config.groups())
    ranks, kernels = ranks_unavailable_reason(config.ranks), kernels_unavailable_reason()
    skipped = {"ranks": ranks} if ranks and {"ranks", "split"} & selected else {}
    others = {"kernels": kernels, "serve": serve_unavailable_reason()}
    return skipped | {group: reason for group, reason in others.items() if reason and group in selected}


def _check_writable(out: Path) -> None:
    """Raise UserError for an unusable output now rather than after minutes of measuring."""
    folder = next(p for p in out.absolute().parents if p.exists())
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(
            f"{out} cannot be written; expected a file in a folder of yours, choose another --out"
        )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
