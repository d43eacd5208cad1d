"""What limits a training step on a CPU: the times that oneDNN gives for its own primitives.

`python -m tinyunet.bench.kernels CONFIG` takes steps with oneDNN's log on. Operations run one after
another there, each in all threads, so that their times add up; a training overlaps some of them and is
hardly faster. What oneDNN does not compute (ReLU's gradient, casts, sums, Adam) is the rest of the step.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from math import prod

import tensorflow as tf

from tinyunet.bench.children import child, run
from tinyunet.bench.compute import train_case
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.measure import Case, Key, Values
from tinyunet.model.precision import resolve_precision

CONVOLUTIONS = {
    "forward": "convolutions, forward",
    "backward_data": "convolutions, input gradients",
    "backward_weights": "convolutions, kernel gradients",
}
OTHERS, REST = "pooling, reorders", "the rest"
BEGIN = "-- traced --"  # what was logged before this is not counted


def kernels_cases(config: BenchConfig) -> dict[str, Case]:
    """Milliseconds per step of every kind of kernel, and the rate of the convolutions."""
    command = child("kernels", config)
    return {"kernels": lambda seconds: _values(run([*command, str(seconds)]))}


def without_kernels() -> str:
    """Say why kernels cannot be measured here; empty if they can."""
    from tensorflow.python.util import _pywrap_util_port  # what TensorFlow itself asks

    if tf.config.list_physical_devices("GPU"):
        return "a GPU does not use oneDNN"
    off = "TensorFlow does not use oneDNN on this CPU; TF_ENABLE_ONEDNN_OPTS=1 makes it"
    return "" if _pywrap_util_port.IsMklEnabled() else off


def summed(log: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Add up what oneDNN logged: milliseconds, and operations (two per multiply-add), by kind of kernel."""
    sums: dict[str, tuple[float, float]] = dict.fromkeys((*CONVOLUTIONS.values(), OTHERS), (0.0, 0.0))
    for kind, shape, taken in _primitives(log):
        ms, operations = sums[kind]
        sums[kind] = ms + taken, operations + (_operations(shape) if kind != OTHERS else 0.0)
    return sums


def _primitives(log: Iterable[str]) -> Iterator[tuple[str, str, float]]:
    """Give kind, shape and milliseconds of every line `onednn_verbose,…,exec,cpu,PRIMITIVE,…,SHAPE,MS`."""
    for line in log:
        fields = line.split(",")
        if fields[0] == "onednn_verbose" and "exec" in fields:
            primitive, _, direction = fields[fields.index("exec") + 2 :][:3]
            direction = re.sub("_(training|inference)$", "", direction)
            kind = CONVOLUTIONS[direction] if primitive == "convolution" else OTHERS
            yield kind, fields[-2], float(fields[-1])


def _operations(shape: str) -> float:
    """Count the operations of a convolution, such as mb16_ic32oc16_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1."""
    return 2.0 * prod(int(n) for n in re.findall(r"(?:mb|ic|oc|oh|ow|kh|kw)(\d+)", shape))


def _values(output: str) -> Values:
    *log, last = output.partition(BEGIN)[2].strip().splitlines()
    steps = json.loads(last)["step_ms"]
    whole, sums = sum(steps) / len(steps), summed(log)
    values = {Key("kernels", "step", "per_step_ms"): [whole]}
    for kind, (ms, operations) in sums.items():
        values[Key("kernels", kind, "per_step_ms")] = [ms / len(steps)]
        if operations:
            values[Key("kernels", kind, "gflop_per_s")] = [operations / ms / 1e6]
    rest = whole - sum(ms for ms, _ in sums.values()) / len(steps)
    return values | {Key("kernels", REST, "per_step_ms"): [rest]}


def _main() -> None:
    os.environ["ONEDNN_VERBOSE"] = "1"  # read at the first primitive
    tf.config.threading.set_inter_op_parallelism_threads(1)
    recipe = BenchConfig().replace(json.loads(sys.argv[1])).recipe()
    case = train_case(recipe, resolve_precision(recipe.precision))
    print(BEGIN, flush=True)
    values = case(float(sys.argv[2]))
    print(json.dumps({key.figure: taken for key, taken in values.items()}), flush=True)


if __name__ == "__main__":
    _main()
