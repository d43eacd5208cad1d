"""The figures of `tinyunet bench` as JSON and as a table: spreads, percentiles, ratios."""

from collections.abc import Iterator, Mapping
from typing import Any

from tinyunet.bench.compute import SIZES
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.kernels import CONVOLUTIONS, OTHERS, REST
from tinyunet.bench.measure import Key, Values, percentiles, spread
from tinyunet.bench.ranks import PARTS, case_name

UNITS = {
    "images_per_s": "img/s", "images_per_core_s": "img/s per core", "gflop_per_s": "GFLOP/s",
    "mb_per_s": "MB/s", "peak_mib": "MiB", "seconds": "s", "allreduce_bytes": "bytes per step, allreduce",
    "per_step_ms": "ms per step",
    **{f"{part}_ms": f"ms, {part.replace('_', ' ')}" for part in ("whole", *PARTS)},
}  # fmt: skip
STEPS = "step_ms"  # every single step is in it: percentiles say more than a spread over rounds

Figures = dict[str, dict[str, dict[str, dict[str, float]]]]


def figures(values: Values) -> Figures:
    """Sum up every figure: group, case, figure, and median, min and max over rounds (or percentiles)."""
    found: Figures = {}
    for key, taken in values.items():
        place = found.setdefault(key.group, {}).setdefault(key.case, {})
        place[key.figure] = percentiles(taken) if key.figure == STEPS else spread(taken)
    return found


def ratios(values: Values, config: BenchConfig, fast: str) -> dict[str, dict[str, float]]:
    """Divide what belongs together, round by round; give median, min and max of the quotients.

    Args:
        values: All figures, one value per round.
        config: What was measured.
        fast: The fastest precision of this machine, perhaps float32 itself.
    """
    return {
        name: spread([a / b for a, b in zip(values[over], values[under], strict=True)])
        for name, over, under in _pairs(config, fast)
        if over != under and over in values and under in values
    }


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines of the table."""
    yield "  ".join(f"{key} {value}" for key, value in result["machine"].items())
    yield f"{result['settings']['image_size']} px, {result['settings']['rounds']} round(s)"
    yield f"{'':44}{'median':>12}{'min':>12}{'max':>12}"
    for group in result["settings"]["groups"]:
        for case, found in result.get(group, {}).items():
            for figure, numbers in found.items():
                yield _line(f"{group:8} {case}", numbers, UNITS.get(figure, ""))
    for name, numbers in result["ratios"].items():
        yield _line(name, numbers, "")
    for group, reason in result["skipped"].items():
        yield f"{group}: skipped, {reason}"


def number(value: float) -> str:
    """Write four digits, or all of a whole number that has more."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _line(name: str, numbers: Mapping[str, float], unit: str) -> str:
    if "count" in numbers:
        columns = [f"{key} {number(numbers[key])}" for key in ("p50", "p90", "p99")]
        unit = f"ms a step, of {numbers['count']:.0f}"
    else:
        columns = [number(numbers[key]) for key in ("median", "min", "max")]
    return f"{name:44}{''.join(f'{column:>12}' for column in columns)}  {unit}".rstrip()


def _pairs(config: BenchConfig, fast: str) -> Iterator[tuple[str, Key, Key]]:
    def rate(group: str, case: str) -> Key:
        return Key(group, case, "images_per_s")

    ours = rate("train", f"train {fast}")
    yield f"train {fast} / float32", ours, rate("train", "train float32")
    yield f"train {fast} / plain Keras", ours, rate("train", f"plain Keras {fast}")
    for n in SIZES:
        over, under = (rate("predict", f"predict {p} batch {n}") for p in (fast, "float32"))
        yield f"predict {fast} / float32, batch {n}", over, under
    for precision in (fast, "float32"):
        ceiling = rate("predict", f"GEMM ceiling {precision}")
        for n in SIZES:
            over = rate("predict", f"predict {precision} batch {n}")
            yield f"predict {precision} / GEMM, batch {n}", over, ceiling
    yield f"input / train {fast}", rate("input", "input"), ours
    one, many = case_name(1), case_name(config.ranks)
    yield f"{many} / {one}", rate("ranks", many), rate("ranks", one)
    for case in dict.fromkeys((one, many)):
        for part in PARTS:
            over, under = (Key("split", case, f"{name}_ms") for name in (part, "whole"))
            yield f"{case}: {part.replace('_', ' ')} / step", over, under
    for kind in (*CONVOLUTIONS.values(), OTHERS, REST):
        over, under = (Key("kernels", case, "per_step_ms") for case in (kind, "step"))
        yield f"{kind} / step", over, under
    for kind in CONVOLUTIONS.values():
        over, under = (
            Key("kernels", kind, "gflop_per_s"),
            Key("predict", f"GEMM ceiling {fast}", "gflop_per_s"),
        )
        yield f"{kind} / GEMM, rates", over, under
