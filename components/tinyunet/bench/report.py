"""The results of `tinyunet bench` as JSON and as a table: spreads, percentiles and ratios."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tinyunet.bench import engines
from tinyunet.bench.compute import BATCH_SIZES
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.documents import StartTimes
from tinyunet.bench.kernels import CONVOLUTIONS, OTHERS, REST
from tinyunet.bench.measure import Key, Values, percentiles, spread
from tinyunet.bench.ranks import PARTS, case_name

UNITS = {
    "images_per_s": "img/s", "images_per_core_s": "img/s per core", "gflop_per_s": "GFLOP/s",
    "mb_per_s": "MB/s", "peak_mib": "MiB", "seconds": "s", "allreduce_bytes": "bytes per step, allreduce",
    "per_step_ms": "ms per step", "first_answer_s": "s to the first answer",
    **{f"{part}_s": f"s, {part.replace('_', ' ')}" for part in ("to_first_step", *StartTimes.model_fields)},
    **{f"{part}_ms": f"ms, {part.replace('_', ' ')}" for part in ("whole", *PARTS)},
}  # fmt: skip
# Hold every single step or answer, so that percentiles describe them better than a spread over rounds.
SINGLE = {"step_ms": "ms a step", "answer_ms": "ms an answer"}

Figures = dict[str, dict[str, dict[str, dict[str, float]]]]


@dataclass(frozen=True)
class Report:
    """All results of one run of `tinyunet bench`.

    Attributes:
        machine: Processor, cores, devices and versions.
        config: What was measured.
        derived: Settings that follow from the configuration on this machine, such as the global batch.
        figures: Summary of each quantity, as `figures` returns it.
        ratios: Summary of each ratio, as `ratios` returns it.
        skipped: For each group that cannot be measured on this machine, the reason.
    """

    machine: Mapping[str, str]
    config: BenchConfig
    derived: Mapping[str, int | str]
    figures: Figures
    ratios: Mapping[str, dict[str, float]]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """Return the content of the JSON file."""
        settings = {**self.config.to_dict(), "groups": self.config.groups(), **self.derived}
        first = {"machine": self.machine, "settings": settings}
        return {**first, **self.figures, "ratios": self.ratios, "skipped": self.skipped}

    def table(self) -> Iterator[str]:
        """Yield the lines of the table."""
        yield "  ".join(f"{key} {value}" for key, value in self.machine.items())
        yield f"{self.config.image_size} px, {self.config.rounds} round(s)"
        yield f"{'':44}{'median':>12}{'min':>12}{'max':>12}"
        for group in self.config.groups():
            for case, quantities in self.figures.get(group, {}).items():
                for figure, summary in quantities.items():
                    yield _line(f"{group:8} {case}", summary, UNITS.get(figure, SINGLE.get(figure, "")))
        for name, summary in self.ratios.items():
            yield _line(name, summary, "")
        for group, reason in self.skipped.items():
            yield f"{group}: skipped, {reason}"


def figures(values: Values) -> Figures:
    """Return the summary of every quantity by group, case and figure.

    A summary holds the median, minimum and maximum over rounds, or the percentiles of single steps.
    """
    result: Figures = {}
    for key, measured in values.items():
        case = result.setdefault(key.group, {}).setdefault(key.case, {})
        case[key.figure] = percentiles(measured) if key.figure in SINGLE else spread(measured)
    return result


def ratios(values: Values, config: BenchConfig, fastest: str) -> dict[str, dict[str, float]]:
    """Return the median, minimum and maximum of ratios that are computed within each round.

    Args:
        values: All figures, one value per round.
        config: What was measured.
        fastest: The fastest precision of this machine, which may be float32.
    """
    return {
        name: spread([a / b for a, b in zip(values[over], values[under], strict=True)])
        for name, over, under in _pairs(config, fastest)
        if over != under and over in values and under in values
    }


def number(value: float) -> str:
    """Format a number with four significant digits, or with all digits before the decimal point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _line(name: str, summary: Mapping[str, float], unit: str) -> str:
    if "count" in summary:
        columns = [f"{key} {number(summary[key])}" for key in ("p50", "p90", "p99")]
        unit = f"{unit}, of {summary['count']:.0f}"
    else:
        columns = [number(summary[key]) for key in ("median", "min", "max")]
    return f"{name:44}{''.join(f'{column:>12}' for column in columns)}  {unit}".rstrip()


def _pairs(config: BenchConfig, fastest: str) -> Iterator[tuple[str, Key, Key]]:
    """Yield the name, numerator and denominator of every ratio."""

    def rate(group: str, case: str) -> Key:
        return Key(group, case, "images_per_s")

    train = rate("train", f"train {fastest}")
    yield f"train {fastest} / float32", train, rate("train", "train float32")
    yield f"train {fastest} / plain Keras", train, rate("train", f"plain Keras {fastest}")
    for n in BATCH_SIZES:
        over, under = (rate("predict", f"predict {p} batch {n}") for p in (fastest, "float32"))
        yield f"predict {fastest} / float32, batch {n}", over, under
        same = {p.removeprefix("mixed_"): p for p in (fastest, "float32")}
        for precision in engines.precisions():
            over, under = (
                rate("predict", f"{case} batch {n}")
                for case in (f"engine {precision}", f"predict {same.get(precision, fastest)}")
            )
            yield f"engine {precision} / {under.case.removesuffix(f' batch {n}')}, batch {n}", over, under
    for precision in (fastest, "float32"):
        ceiling = rate("predict", f"GEMM ceiling {precision}")
        for n in BATCH_SIZES:
            over = rate("predict", f"predict {precision} batch {n}")
            yield f"predict {precision} / GEMM, batch {n}", over, ceiling
    yield f"input / train {fastest}", rate("input", "input"), train
    for precision in engines.precisions():
        yield (
            f"tinyunet {precision} / MLflow",
            rate("serve", f"tinyunet {precision}"),
            rate("serve", "MLflow"),
        )
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
            Key("predict", f"GEMM ceiling {fastest}", "gflop_per_s"),
        )
        yield f"{kind} / GEMM, rates", over, under
