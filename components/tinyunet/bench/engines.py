"""Measure the forward pass of the engine of `tinyunet predict` and `tinyunet serve`, on the CPU."""

import tempfile
from pathlib import Path

import numpy as np

from tinyunet.bench.compute import BATCH_SIZES, random_split
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.measure import Case, Key, Values, repeat
from tinyunet.engine.network import FILE, INT8, Network, network_files
from tinyunet.model.precision import cpu_has_bfloat16, cpu_has_int8
from tinyunet.model.unet import build_unet
from tinyunet.registry.quantization import quantize
from tinyunet.serving.onnx_network import to_onnx


def precisions() -> tuple[str, ...]:
    """Return the precisions of the engine that the CPU has instructions for; the fastest one is the last."""
    return (
        "float32",
        *(["bfloat16"] if cpu_has_bfloat16() else []),
        *([INT8] if cpu_has_int8() else []),
    )


def engine_cases(config: BenchConfig) -> dict[str, Case]:
    """Return the measurements of forward passes in images/s, from grey levels to logits."""
    size = config.image_size
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / FILE).write_bytes(to_onnx(build_unet(plain=True)).SerializeToString())
        quantize(folder, [random_split(size, 1).images[..., None].astype(np.float32)])
        networks = {p: Network(network_files(folder, p)[0], p) for p in precisions()}
    return {
        f"engine {precision} batch {n}": _case(network, f"engine {precision} batch {n}", size, n)
        for precision, network in networks.items()
        for n in BATCH_SIZES
    }


def _case(network: Network, name: str, size: int, batch_size: int) -> Case:
    images = random_split(size, batch_size).images[..., None]
    network(images.astype(np.float32))  # the first call prepares the network for this shape

    def measure(seconds: float) -> Values:
        durations = repeat(lambda: network(images.astype(np.float32)), seconds)
        return {Key("predict", name, "images_per_s"): [batch_size * len(durations) / sum(durations)]}

    return measure
