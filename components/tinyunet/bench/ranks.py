"""Where the time of a training step goes, and what more ranks give: real trainings in processes of their own.

`python -m tinyunet.bench.ranks CONFIG` is one rank: alone, or one of several under mpirun. It
takes the steps of the training loop and then times the parts of a step one by one:

- whole: a turn of the loop: next batch, step, loss read back;
- input_wait: the part of that in which the loop waits for the next batch, which a thread prepares;
- forward_backward: the training step itself, compiled with an optimizer that does nothing, in a world of
  one rank, on this rank's share of the batch: scaling, forward pass, loss, gradients, their norm;
- allreduce: `World.sum` of the loss's sums, then `World.sum_all` of tensors as large as the gradients,
  begun by all ranks together, so that waiting for a slower rank is not in it;
- optimizer: `optimizer.apply` of given gradients: clipping, Adam, averaging of the weights.

Parts are medians over calls, the loop's figures means. All ranks do the same at the same time; rank 0's
clock counts. The parts need not add up to the whole: the rest is what the loop does between them, and
what ranks wait for each other.
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

from tinyunet.bench.children import child, last_json, without_ranks
from tinyunet.bench.compute import random_split
from tinyunet.bench.config import BenchConfig
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
WARM = 2  # calls before any that counts: one traces, one tells how many to make
SUMS = len(Sums._fields) + 1  # floats that a step sums over the ranks for its loss and for a stop
Call = Callable[[], object]


def ranks_cases(config: BenchConfig) -> dict[str, Case]:
    """One rank with all cores, and `config.ranks` ranks that share them, each in turn afresh."""
    cases = {case_name(1): _case(config, 1)}
    if not without_ranks(config.ranks):
        cases[case_name(config.ranks)] = _case(config, config.ranks)
    return cases


def case_name(ranks: int) -> str:
    """Name a world by its ranks and the threads of each, such as `2 ranks × 1 thread`."""
    threads = max(1, cores() // ranks)
    return f"{ranks} rank{'s' * (ranks > 1)} × {threads} thread{'s' * (threads > 1)}"


def measure(config: BenchConfig, world: World) -> dict[str, float]:
    """Take steps and time their parts, in seconds; all ranks must call together."""
    recipe = config.recipe()
    precision = resolve_precision(recipe.precision)
    model = build_unet(recipe.image_size, precision=precision)
    optimizer = build_optimizer(recipe, precision)
    found, batch = _loop(TrainStep(model, optimizer, recipe, world), config, world)
    alone = TrainStep(model, _NoUpdate(), recipe, World())
    gradients = [tf.random.stateless_normal(v.shape, (0, 1), stddev=1e-3) for v in model.trainable_variables]
    parts: dict[str, Call] = {
        "forward_backward": lambda: float(alone(batch).loss),
        "optimizer": _update(optimizer, model, gradients),
    }
    if world.size > 1:
        parts["allreduce"] = _allreduce(world, gradients)
        found["allreduce_bytes"] = 4 * (sum(int(tf.size(g)) for g in gradients) + SUMS)
    return found | {name: _median(call, world, config.seconds) for name, call in parts.items()}


def _loop(step: TrainStep, config: BenchConfig, world: World) -> tuple[dict[str, float], Batch]:
    """Take steps as a training does; give the loop's figures, and a batch of this rank."""
    recipe, waits = config.recipe(), []
    data = random_split(config.image_size)
    source: Any = batches(data, recipe, start=0, rank=world.rank, world_size=world.size)

    def turn() -> None:
        start = time.perf_counter()
        batch = next(source)
        waits.append(time.perf_counter() - start)
        float(step(batch).loss)

    with closing(source):
        seconds = _mean(turn, world, config.seconds)
        batch: Batch = next(source)
    wait = statistics.mean(waits[WARM:])
    return {"images_per_s": recipe.global_batch / seconds, "whole": seconds, "input_wait": wait}, batch


class _NoUpdate:
    """Stands where an optimizer does, and leaves the weights alone."""

    learning_rate = 0.0

    def build(self, variables: object) -> None:
        """Need nothing."""

    def apply(self, gradients: object, variables: object) -> None:
        """Do nothing."""


def _update(optimizer: keras.optimizers.Optimizer, model: keras.Model, gradients: list[tf.Tensor]) -> Call:
    def update() -> tf.Tensor:
        optimizer.apply(gradients, model.trainable_variables)
        return tf.reduce_sum(model.trainable_variables[-1].value)

    run = tf.function(update)
    return lambda: float(run())


def _allreduce(world: World, gradients: list[tf.Tensor]) -> Call:
    def reduce() -> tf.Tensor:
        first = world.sum(tf.zeros(SUMS))
        with tf.control_dependencies([first]):
            mine = [tf.identity(g) for g in gradients]
        return tf.add_n([tf.reshape(total, [-1])[0] for total in world.sum_all(mine)])

    run = tf.function(reduce)
    return lambda: float(run())


def _count(call: Call, world: World, seconds: float) -> int:
    """Give the calls, at least two, that fill the time by rank 0's clock; WARM calls are made for that."""
    for _ in range(WARM):
        start = time.perf_counter()
        call()
    took = time.perf_counter() - start
    return int(world.broadcast_object(max(2, math.ceil(seconds / took))))


def _mean(call: Call, world: World, seconds: float) -> float:
    count = _count(call, world, seconds)
    world.barrier()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _median(call: Call, world: World, seconds: float) -> float:
    taken = []
    for _ in range(_count(call, world, seconds)):
        world.barrier()
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _case(config: BenchConfig, ranks: int) -> Case:
    launcher = mpirun(ranks) if ranks > 1 else []
    command = [*launcher, *child("ranks", config)]
    return lambda seconds: _values(case_name(ranks), last_json(command))


def _values(case: str, found: dict[str, Any]) -> Values:
    values = {Key("split", case, f"{k}_ms"): [1000 * found[k]] for k in ("whole", *PARTS) if k in found}
    values[Key("ranks", case, "images_per_s")] = [found["images_per_s"]]
    if "allreduce" in found:
        values[Key("ranks", case, "allreduce_ms")] = [1000 * found["allreduce"]]
        values[Key("ranks", case, "allreduce_bytes")] = [found["allreduce_bytes"]]
    return values


def _main() -> None:
    world = init()
    found = measure(BenchConfig().replace(json.loads(sys.argv[1])), world)
    world.shutdown()
    if world.is_chief:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _main()
