"""Time of the parts of a training step, on one rank and on several.

`python -m tinyunet.bench.ranks CONFIG` is one rank: the only one, or one of several under mpirun. Each rank
runs the training loop first and then measures the parts of a step one after another:

- whole: one iteration of the loop, which takes a batch, runs the step and reads the loss back;
- input_wait: the part of the iteration in which the loop waits for the next batch (a thread prepares it);
- forward_backward: the compiled training step with an optimizer that does nothing, in a world of size one,
  on this rank's share of the batch: scaling, forward pass, loss, gradients and their norm;
- allreduce: `World.sum` of the loss terms, then `World.sum_all` of tensors as large as the gradients. All
  ranks start it together, so that the time does not include the wait for a slower rank;
- optimizer: `optimizer.apply` of given gradients: clipping, Adam and averaging of the weights.

The figures of the loop are means, the parts are medians over calls. All ranks do the same work at the same
time, and the clock of rank 0 counts. The parts need not add up to the whole: the rest is the work of the loop
between the parts, and the time that ranks wait for each other.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import keras
import tensorflow as tf

from tinyunet.bench.children import child_command, ranks_unavailable_reason, read_document
from tinyunet.bench.compute import random_split
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.documents import RankTimes
from tinyunet.bench.measure import Case, Key, Values
from tinyunet.core.console import cores
from tinyunet.data.dataset import Batch, batches
from tinyunet.launch.local_ranks import mpirun
from tinyunet.model.losses import Sums
from tinyunet.model.precision import resolve_precision
from tinyunet.model.unet import build_unet
from tinyunet.training.distributed import World, init
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep

PARTS = ("input_wait", "forward_backward", "allreduce", "optimizer")
WARMUP_CALLS = 2  # not counted: the first call traces, the second one determines the number of calls
SUMS = len(Sums._fields) + 1  # floats that a step sums over the ranks for its loss and for a stop request
Call = Callable[[], object]


def ranks_cases(config: BenchConfig) -> dict[str, Case]:
    """Return the measurements of one rank with all cores, and of `config.ranks` ranks that share them.

    Each measurement starts new processes.
    """
    cases = {case_name(1): _case(config, 1)}
    if not ranks_unavailable_reason(config.ranks):
        cases[case_name(config.ranks)] = _case(config, config.ranks)
    return cases


def case_name(ranks: int) -> str:
    """Return a name made from the number of ranks and the threads of each, such as `2 ranks × 1 thread`."""
    threads = max(1, cores() // ranks)
    return f"{ranks} rank{'s' * (ranks > 1)} × {threads} thread{'s' * (threads > 1)}"


def measure(config: BenchConfig, world: World) -> RankTimes:
    """Measure the training loop and the parts of a step; all ranks must call this together."""
    recipe = config.recipe()
    precision = resolve_precision(recipe.precision)
    model = build_unet(recipe.image_size, precision=precision)
    optimizer = build_optimizer(recipe, precision)
    loop, batch = _measure_loop(TrainStep(model, optimizer, recipe, world), config, world)
    local_step = TrainStep(model, _NoUpdate(), recipe, World())
    gradients = [tf.random.stateless_normal(v.shape, (0, 1), stddev=1e-3) for v in model.trainable_variables]
    calls: dict[str, Call] = {
        "forward_backward": lambda: float(local_step(batch).loss),
        "optimizer": _update(optimizer, model, gradients),
    }
    sent = None
    if world.size > 1:
        calls["allreduce"] = _allreduce(world, gradients)
        sent = 4 * (sum(int(tf.size(g)) for g in gradients) + SUMS)
    parts = {name: _median(call, world, config.seconds) for name, call in calls.items()}
    return RankTimes(**loop, **parts, allreduce_bytes=sent)


def _measure_loop(step: TrainStep, config: BenchConfig, world: World) -> tuple[dict[str, float], Batch]:
    """Run the training loop; return its figures, and one batch of this rank."""
    recipe, waits = config.recipe(), []
    data = random_split(config.image_size)
    source: Any = batches(data, recipe, start=0, rank=world.rank, world_size=world.size)

    def iteration() -> None:
        start = time.perf_counter()
        batch = next(source)
        waits.append(time.perf_counter() - start)
        float(step(batch).loss)

    with closing(source):
        seconds = _mean(iteration, world, config.seconds)
        batch: Batch = next(source)
    wait = statistics.mean(waits[WARMUP_CALLS:])
    return {"images_per_s": recipe.global_batch / seconds, "whole": seconds, "input_wait": wait}, batch


class _NoUpdate:
    """Has the interface of an optimizer and leaves the weights unchanged."""

    learning_rate = 0.0

    def build(self, variables: object) -> None:
        """Do nothing."""

    def apply(self, gradients: object, variables: object) -> None:
        """Do nothing."""


def _update(optimizer: keras.optimizers.Optimizer, model: keras.Model, gradients: list[tf.Tensor]) -> Call:
    def update() -> tf.Tensor:
        optimizer.apply(gradients, model.trainable_variables)
        return tf.reduce_sum(model.trainable_variables[-1].value)

    compiled = tf.function(update)
    return lambda: float(compiled())


def _allreduce(world: World, gradients: list[tf.Tensor]) -> Call:
    def reduce() -> tf.Tensor:
        first = world.sum(tf.zeros(SUMS))
        with tf.control_dependencies([first]):
            copies = [tf.identity(g) for g in gradients]
        return tf.add_n([tf.reshape(total, [-1])[0] for total in world.sum_all(copies)])

    compiled = tf.function(reduce)
    return lambda: float(compiled())


def _count(call: Call, world: World, seconds: float) -> int:
    """Make WARMUP_CALLS calls; return how many calls, at least two, fill the time by the clock of rank 0."""
    for _ in range(WARMUP_CALLS):
        start = time.perf_counter()
        call()
    duration = time.perf_counter() - start
    return int(world.broadcast_object(max(2, math.ceil(seconds / duration))))


def _mean(call: Call, world: World, seconds: float) -> float:
    count = _count(call, world, seconds)
    world.barrier()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _median(call: Call, world: World, seconds: float) -> float:
    durations = []
    for _ in range(_count(call, world, seconds)):
        world.barrier()
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def _case(config: BenchConfig, ranks: int) -> Case:
    launcher = mpirun(ranks) if ranks > 1 else []
    command = [*launcher, *child_command("ranks", config)]
    return lambda seconds: _values(case_name(ranks), read_document(command, RankTimes))


def _values(case: str, times: RankTimes) -> Values:
    seconds = {name: getattr(times, name) for name in ("whole", *PARTS)}
    values = {Key("split", case, f"{k}_ms"): [1000 * v] for k, v in seconds.items() if v is not None}
    values[Key("ranks", case, "images_per_s")] = [times.images_per_s]
    if times.allreduce is not None and times.allreduce_bytes is not None:
        values[Key("ranks", case, "allreduce_ms")] = [1000 * times.allreduce]
        values[Key("ranks", case, "allreduce_bytes")] = [times.allreduce_bytes]
    return values


def _main() -> None:
    world = init()
    times = measure(BenchConfig().replace(json.loads(sys.argv[1])), world)
    world.shutdown()
    if world.is_chief:
        print(times.model_dump_json(), flush=True)


if __name__ == "__main__":
    _main()
