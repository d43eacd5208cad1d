"""The kernels that take the longest in a training step, from TensorFlow's profiler."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

STEPS = 3
COUNT = 10


def largest_kernels(step: Callable[[], object], count: int = COUNT) -> dict[str, float]:
    """Return the names of the kernels that take the longest, and their milliseconds per step.

    On a GPU these are CUDA kernels, and their times on all streams are added up. On a CPU these are kinds of
    operations, with the time that the threads of TensorFlow spend in them.

    Args:
        step: Runs one step, and waits for its end; it has been called before.
        count: Number of kernels.
    """
    with tempfile.TemporaryDirectory(prefix="tinyunet-profile-") as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(STEPS):
                step()
        files = sorted(Path(folder).rglob("*.xplane.pb"))
        planes = [plane for file in files for plane in _planes(file)]
    return sum_kernels(planes, count=count, steps=STEPS)


def sum_kernels(planes: list[Any], *, count: int, steps: int) -> dict[str, float]:
    """Return the largest sums of kernels' times in milliseconds per step; of the GPUs, if there are any."""
    on_gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    found = map(_gpu_kernels, on_gpus) if on_gpus else map(_cpu_operations, planes)
    sums: Counter[str] = Counter()
    for events in found:
        for name, picoseconds in events:
            sums[name] += picoseconds
    return {name: total / 1e9 / steps for name, total in sums.most_common(count)}


def _gpu_kernels(plane: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401  a message without types
    for line in plane.lines:
        if line.name.startswith("Stream"):
            for event in line.events:
                yield plane.event_metadata[event.metadata_id].name, event.duration_ps


def _cpu_operations(plane: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401  a message without types
    """Yield operations, whose events have names such as `adam/Sub_84:Sub`; other events contain them."""
    for line in plane.lines:
        if line.name.startswith("tf_"):
            for event in line.events:
                name, colon, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                if colon and not name.endswith(":") and kind.isidentifier():
                    yield kind, event.duration_ps


def _planes(file: Path) -> list[Any]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2  # TensorFlow's own format of a profile

    space = xplane_pb2.XSpace()
    space.ParseFromString(file.read_bytes())
    return list(space.planes)
