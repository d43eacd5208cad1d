"""The check of a machine with GPUs: `make test-gpu` prints a Markdown table and writes a JSON file.

It needs neither a registry nor a cluster. It compares mixed_float16 with float32 and compiled steps with
others on the same batch, sums tensors over all GPUs by NCCL, measures the training for every batch size,
precision and compiler, and lists the kernels that take the longest in a step. Without a GPU it runs with
tiny images, which only shows that the script works; the title of the table says so.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from tinyunet.bench.bench import machine
from tinyunet.bench.children import read_document
from tinyunet.bench.compute import step_batch
from tinyunet.bench.documents import Allreduce
from tinyunet.bench.measure import repeat
from tinyunet.bench.profile import largest_kernels
from tinyunet.core.errors import CommandError
from tinyunet.core.files import atomic_path
from tinyunet.core.presets import FAST
from tinyunet.launch.local_ranks import mpirun
from tinyunet.model.unet import PARAMETERS, build_unet
from tinyunet.training.distributed import World, init
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep

PRECISIONS = ("float32", "mixed_float16")
FLOAT16_LIMIT = 0.02  # of the relative difference of the losses; float16 rounds by 0.05 %, over 50 layers
JIT_LIMIT = {"float32": 1e-3, "mixed_float16": 0.02}  # tensor cores round float32 products to TF32
COMPARED_STEPS = 3
BYTES = (4 * PARAMETERS, 64 << 20)  # of the allreduces that are measured
NetworkBuilder = Callable[[int, str], keras.Model]


class Case(NamedTuple):
    """A kind of training step.

    Attributes:
        batch: Images per step.
        precision: Keras dtype policy.
        jit: `true` or `false`, the option of the training.
    """

    batch: int
    precision: str
    jit: str

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.precision}{', XLA' if self.jit == 'true' else ''}"


@dataclass(frozen=True, kw_only=True)
class GpuCheck:
    """What is checked.

    Attributes:
        size: Side of the images in pixels.
        batches: Images per step.
        seconds: Shortest time of one measurement.
        ranks: Ranks of the allreduce, one for each GPU; 1 omits it.
    """

    size: int = 512
    batches: Sequence[int] = (16, 64)
    seconds: float = 3.0
    ranks: int = 1


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: Its value.
        unit: Its unit.
        limit: The largest permitted value; None for a figure without a limit.
    """

    name: str
    value: float
    unit: str = ""
    limit: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the value is within its limit; NaN is not."""
        return self.limit is None or self.value <= self.limit


def plan(gpus: int) -> GpuCheck:
    """Return what is checked on a machine with this number of GPUs; without one, tiny sizes."""
    trial = GpuCheck(size=32, batches=(2,), seconds=0.0)
    return GpuCheck(ranks=gpus) if gpus else trial


def check(what: GpuCheck, out: Path, build: NetworkBuilder | None = None) -> list[Line]:
    """Check this machine, print the table and write the JSON file.

    Args:
        what: What is checked.
        out: JSON file.
        build: Returns a network of a size and a precision; None stands for TinyUNet.

    Raises:
        CommandError: if a value exceeds its limit; table and file are written before.
    """
    init()  # a GPU's memory then grows with its use, which leaves memory for the ranks
    lines, kernels = _measure_steps(
        what, build or (lambda size, precision: build_unet(size, precision=precision))
    )
    lines += _allreduce_lines(what)
    found = machine()
    print("\n".join(table(found, what, lines, kernels)), flush=True)
    with atomic_path(out) as temporary:
        rows = [asdict(line) | {"ok": line.ok} for line in lines]
        document = {"machine": found, "check": asdict(what), "lines": rows, "kernels_ms": kernels}
        temporary.write_text(json.dumps(document, indent=2) + "\n")
    if failed := [line.name for line in lines if not line.ok]:
        raise CommandError(f"above the limit: {', '.join(failed)}; {out} has all values")
    return lines


def table(
    found: Mapping[str, str], what: GpuCheck, lines: Sequence[Line], kernels: Mapping[str, float]
) -> Iterator[str]:
    """Yield the lines of a Markdown table, and of a second one of the kernels."""
    trial = " Trial without a GPU: the figures mean nothing." if found["gpus"] == "none" else ""
    if trial and not tf.test.is_built_with_cuda():
        trial += " This TensorFlow is for CPUs; that of the image trainer is for GPUs."
    device = f"{found['gpus']}, {found['cpu']}, TensorFlow {found['tensorflow']}"
    yield f"{device}, {what.size}×{what.size}.{trial}"
    yield from ("", "| | value | limit |", "|---|---|---|")
    for line in lines:
        limit = "" if line.limit is None else f"{line.limit:g}{'' if line.ok else ', exceeded'}"
        yield f"| {line.name} | {line.value:.4g} {line.unit} | {limit} |".replace("  ", " ")
    if what.ranks == 1:
        yield from ("", "The allreduce was not measured, because it needs two GPUs.")
    yield from ("", "| kernel | ms per step |", "|---|---|")
    for name, ms in kernels.items():
        yield f"| `{name[:80]}` | {ms:.3f} |"


def _measure_steps(what: GpuCheck, build: NetworkBuilder) -> tuple[list[Line], dict[str, float]]:
    """Measure the training for every batch size, precision and compiler, and compare the first losses."""
    rates: dict[Case, float] = {}
    losses: dict[Case, list[float]] = {}
    kernels: dict[str, float] = {}
    for values in itertools.product(what.batches, PRECISIONS, ("false", "true")):
        case = Case(*values)
        step = _step(what.size, case, build)
        losses[case] = [step() for _ in range(COMPARED_STEPS)]
        durations = repeat(step, what.seconds)
        rates[case] = case.batch * len(durations) / sum(durations)
        print(f"{case}: {rates[case]:.4g} img/s", file=sys.stderr, flush=True)
        if case == (what.batches[0], "mixed_float16", "false"):
            kernels = largest_kernels(step)
    lines = list(_differences(what.batches[0], losses))
    lines += [Line(name=f"training, {case}", value=rate, unit="img/s") for case, rate in rates.items()]
    return [*lines, *_gains(what, rates)], kernels


def _differences(batch: int, losses: Mapping[Case, Sequence[float]]) -> Iterator[Line]:
    def largest(one: Case, other: Case) -> float:
        return max(abs(a / b - 1) for a, b in zip(losses[one], losses[other], strict=True))

    title = "largest difference of the loss"
    half, full = (Case(batch, precision, "false") for precision in ("mixed_float16", "float32"))
    yield Line(name=f"float16 against float32: {title}", value=largest(half, full), limit=FLOAT16_LIMIT)
    for precision, limit in JIT_LIMIT.items():
        plain, compiled = (Case(batch, precision, jit) for jit in ("false", "true"))
        yield Line(name=f"XLA, {precision}: {title}", value=largest(compiled, plain), limit=limit)


def _gains(what: GpuCheck, rates: Mapping[Case, float]) -> Iterator[Line]:
    for batch in what.batches:
        half = Case(batch, "mixed_float16", "false")
        amp = rates[half] / rates[half._replace(precision="float32")]
        yield Line(name=f"gain by float16, batch {batch}", value=amp)
        yield Line(
            name=f"gain by XLA in float16, batch {batch}",
            value=rates[half._replace(jit="true")] / rates[half],
        )


def _step(size: int, case: Case, build: NetworkBuilder) -> Callable[[], float]:
    """Return a call that takes one training step and returns its loss."""
    recipe = FAST.replace({"image_size": size, "global_batch": case.batch, "jit": case.jit, "steps": 10**9})
    keras.utils.set_random_seed(0)
    model, batch = build(size, case.precision), step_batch(recipe)
    step = TrainStep(model, build_optimizer(recipe, case.precision), recipe, World())
    return lambda: float(step(batch).loss)


def _allreduce_lines(what: GpuCheck) -> list[Line]:
    """Sum tensors over the GPUs, in processes of their own; with one rank, there is nothing to sum."""
    if what.ranks == 1:
        return []
    command = [*mpirun(what.ranks), sys.executable, "-m", "tinyunet.bench.gpu", str(what.seconds)]
    document = read_document(command, Allreduce)
    title = f"allreduce over {what.ranks} ranks"
    speeds = zip(BYTES, document.seconds, strict=True)
    return [
        Line(name=f"{title}: largest error of a sum", value=document.error, limit=0.0),
        *(Line(name=f"{title}, {n / 1e6:.1f} MB", value=n / s / 1e9, unit="GB/s") for n, s in speeds),
    ]


def measure_allreduce(world: World, seconds: float) -> Allreduce:
    """Sum tensors of `BYTES` over the ranks; all ranks must call this together.

    The numbers are whole, so their sum is exact: rank r contributes r + 1.
    """
    expected, error, times = world.size * (world.size + 1) / 2, 0.0, []
    for size in BYTES:
        tensor = tf.fill([size // 4], float(world.rank + 1))
        total = tf.function(world.sum)
        error = max(error, float(tf.reduce_max(tf.abs(total(tensor) - expected))))
        count = 2 if seconds == 0 else 20
        world.barrier()
        start = time.perf_counter()
        for _ in range(count):
            float(total(tensor)[0])
        times.append((time.perf_counter() - start) / count)
    return Allreduce(error=error, seconds=times)


def _main() -> None:
    world = init()
    result = measure_allreduce(world, float(sys.argv[1]))
    world.shutdown()
    if world.is_chief:
        print(result.model_dump_json(), flush=True)


if __name__ == "__main__":
    _main()
