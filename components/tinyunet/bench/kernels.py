"""Time of each kind of kernel in a training step on a CPU, as oneDNN logs it.

`python -m tinyunet.bench.kernels CONFIG SECONDS` runs training steps with oneDNN's log switched on. In this
process TensorFlow operations run one after another, and each of them uses all threads. Their times therefore
add up. A normal training runs some operations at the same time, but is hardly faster. oneDNN does not
compute everything: the gradient of ReLU, casts, sums and Adam make up the rest of the step.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from math import prod

import tensorflow as tf

from tinyunet.bench.children import child_command, run_program
from tinyunet.bench.compute import train_case
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.documents import StepTimes
from tinyunet.bench.measure import Case, Key, Values
from tinyunet.model.precision import resolve_precision

CONVOLUTIONS = {
    "forward": "convolutions, forward",
    "backward_data": "convolutions, input gradients",
    "backward_weights": "convolutions, kernel gradients",
}
OTHERS, REST = "pooling, reorders", "the rest"
LOG_START = "-- traced --"  # lines before this marker belong to tracing and are not counted


def kernels_cases(config: BenchConfig) -> dict[str, Case]:
    """Return the measurement of milliseconds per step by kind of kernel, and of the convolutions' rate."""
    command = child_command("kernels", config)
    return {"kernels": lambda seconds: _values(run_program([*command, str(seconds)]))}


def kernels_unavailable_reason() -> str:
    """Return why kernels cannot be measured on this machine; empty if they can."""
    from tensorflow.python.util import _pywrap_util_port  # TensorFlow's own check of oneDNN

    if tf.config.list_physical_devices("GPU"):
        return "a GPU does not use oneDNN"
    off = "TensorFlow does not use oneDNN on this CPU; set TF_ENABLE_ONEDNN_OPTS=1 to enable it"
    return "" if _pywrap_util_port.IsMklEnabled() else off


def sum_by_kind(log: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Sum up oneDNN's log by kind of kernel.

    Returns:
        Milliseconds and operations (two per multiply-add) of each kind. Operations are counted for
        convolutions only.
    """
    sums: dict[str, tuple[float, float]] = dict.fromkeys((*CONVOLUTIONS.values(), OTHERS), (0.0, 0.0))
    for kind, shape, duration in _primitives(log):
        ms, operations = sums[kind]
        sums[kind] = ms + duration, operations + (_operations(shape) if kind != OTHERS else 0.0)
    return sums


def _primitives(log: Iterable[str]) -> Iterator[tuple[str, str, float]]:
    """Yield the kind, shape and milliseconds of lines `onednn_verbose,…,exec,cpu,PRIMITIVE,…,SHAPE,MS`."""
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
    *log, last = output.partition(LOG_START)[2].strip().splitlines()
    steps = StepTimes.model_validate_json(last).step_ms
    step_ms, sums = sum(steps) / len(steps), sum_by_kind(log)
    values = {Key("kernels", "step", "per_step_ms"): [step_ms]}
    for kind, (ms, operations) in sums.items():
        values[Key("kernels", kind, "per_step_ms")] = [ms / len(steps)]
        if operations:
            values[Key("kernels", kind, "gflop_per_s")] = [operations / ms / 1e6]
    rest = step_ms - sum(ms for ms, _ in sums.values()) / len(steps)
    return values | {Key("kernels", REST, "per_step_ms"): [rest]}


def _main() -> None:
    os.environ["ONEDNN_VERBOSE"] = "1"  # oneDNN reads it when it computes the first primitive
    tf.config.threading.set_inter_op_parallelism_threads(1)
    recipe = BenchConfig().replace(json.loads(sys.argv[1])).recipe()
    case = train_case(recipe, resolve_precision(recipe.precision))
    print(LOG_START, flush=True)
    durations = {key.figure: values for key, values in case(float(sys.argv[2])).items()}
    print(StepTimes(step_ms=durations["step_ms"]).model_dump_json(), flush=True)


if __name__ == "__main__":
    _main()
