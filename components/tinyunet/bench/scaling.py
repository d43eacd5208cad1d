"""A performance model of weak scaling to many GPUs: `tinyunet scaling` prints its tables.

The model does not use measurements of a GPU, only published figures and data sheets. The time of a message
follows the α–β model. The tables show which efficiency to expect and what limits it, for the step times of

- NVIDIA's TensorFlow 1 code: a step with b images per GPU takes `LAUNCH_S` + b · `IMAGE_S` seconds. This is
  the line through two figures of NVIDIA DeepLearningExamples, UNet_Industrial, on A100 with AMP: 255.26
  img/s on one GPU (16 images per GPU), and 691.19 img/s on 4 GPUs (4 images per GPU). With 2 images per GPU
  their step takes 24.0 ms, more than on this line: a GPU needs enough images.
- what a GPU can reach: the step of `roofline`, for an A100 and an H100.

A faster step leaves less time for everything else, so the efficiency of the slow step is no promise. In this
model, the global batch grows with the number of GPUs; for such a batch, the learning rate and the number of
steps must be chosen again.

- An allreduce of M bytes over n members of a link (α seconds per message, β bytes/s) takes the shorter of
  two times: that of a ring, 2·(n - 1)·(α + M / (n·β)) (Thakur, Rabenseifner, Gropp 2005, "Optimization of
  Collective Communication Operations in MPICH"), and that of a double binary tree, 2·log2(n)·α + 2·M / β
  (Sanders, Speck, Träff 2009, "Two-tree algorithms for full bandwidth broadcast, reduction and scan"). NCCL
  implements both.
- The 8 GPUs of a node add up their values over NVLink. The nodes then add up these sums over one network
  card per node, and distribute the result over NVLink.
- A step has two allreduces: 32 bytes of loss terms in the middle of the step, and the gradients, which this
  model treats as one message after the backward pass. In practice all but the last 0.1 MB are sent during
  the backward pass (`World.sum_all`). With respect to the network, the efficiency is therefore a lower
  bound. The model does not include Horovod's coordination (a cycle of up to 1 ms for each allreduce,
  HOROVOD_CYCLE_TIME), nor the time that ranks wait for a slower rank.
- The input of a node needs `IMAGES_PER_CORE` images/s of one CPU core, with all augmentation of the preset
  `fast` (measured by `tinyunet bench`), and `IMAGE_BYTES` per image over PCIe.
- Before the first step, a rank imports TensorFlow, traces and compiles the step, and NCCL connects:
  `START_S`, an assumption. The pull of the image comes on top, once per node.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyunet.bench.roofline import A100, H100, image_seconds, published_kernels
from tinyunet.model.unet import PARAMETERS

BATCH = 16  # images per GPU and step
NODE = 8  # GPUs per node
GPUS = tuple(2**n for n in range(10))
IMAGE_S = (16 / 255.26 - 16 / 691.19) / 12
LAUNCH_S = 16 / 255.26 - 16 * IMAGE_S
SUMS_BYTES = 32
IMAGES_PER_CORE = 4520
IMAGE_BYTES = 2 * 512 * 512  # grey levels and mask, uint8
START_S = 30.0
EFFICIENCY = 0.95  # goal for which the bandwidth and the number of steps are computed


@dataclass(frozen=True)
class Link:
    """A network link.

    Attributes:
        alpha: Latency in seconds per message.
        beta: Bandwidth in bytes per second and direction.
    """

    alpha: float
    beta: float


NVLINK = Link(3e-6, 300e9)  # third generation, A100: 600 GB/s both ways (NVIDIA A100 data sheet)
ETHERNET = Link(20e-6, 12.5e9)  # 100 Gb/s; about 10 to 50 µs through the kernel's TCP


@dataclass(frozen=True)
class Row:
    """What a step of `gpus` GPUs needs.

    Attributes:
        gpus: Number of GPUs.
        seconds: Time of the two allreduces over 100 Gb/s per node.
        efficiency: Speed per GPU, compared with one GPU alone.
        compressed: The same with compression=fp16, which sends half the bytes.
        images_per_s: Images per second of all GPUs.
        gigabits: Bandwidth per node in Gb/s for an efficiency of 0.95; 0 within a node, infinite if the
            latency alone takes longer.
    """

    gpus: int
    seconds: float
    efficiency: float
    compressed: float
    images_per_s: float
    gigabits: float


def step_times() -> dict[str, float]:
    """Return the seconds of a step of 16 images without communication, by the name of its source."""
    steps = published_kernels()
    reachable = {
        f"{one.name}, reachable": BATCH * image_seconds(one, steps, fused=False) for one in (A100, H100)
    }
    return {"A100, NVIDIA's TensorFlow 1 code": LAUNCH_S + BATCH * IMAGE_S} | reachable


def allreduce(size: float, members: int, link: Link) -> float:
    """Return the seconds of an allreduce of `size` bytes."""
    if members == 1:
        return 0.0
    ring = 2 * (members - 1) * (link.alpha + size / (members * link.beta))
    tree = 2 * math.log2(members) * link.alpha + 2 * size / link.beta
    return min(ring, tree)


def communication(gpus: int, *, gradient_bytes: float, network: Link = ETHERNET) -> float:
    """Return the seconds that a step of `gpus` GPUs spends in its two allreduces."""
    inside, nodes = min(gpus, NODE), max(1, gpus // NODE)
    return sum(
        allreduce(size, inside, NVLINK) + allreduce(size, nodes, network)
        for size in (SUMS_BYTES, gradient_bytes)
    )


def needed_bandwidth(gpus: int, step_s: float) -> float:
    """Return the bytes per second and node with which a step has `EFFICIENCY`, without compression.

    It is 0 within a node, and infinite if the latency of the network alone takes too long.
    """
    nodes, size = max(1, gpus // NODE), 4.0 * PARAMETERS
    if nodes == 1:
        return 0.0
    rest = step_s * (1 / EFFICIENCY - 1) - communication(
        gpus, gradient_bytes=size, network=Link(0.0, math.inf)
    )
    alpha, steps = ETHERNET.alpha, math.log2(nodes)
    sums = allreduce(SUMS_BYTES, nodes, Link(alpha, math.inf))
    tree, ring = rest - sums - 2 * steps * alpha, rest - sums - 2 * (nodes - 1) * alpha
    bandwidths = [2 * size / tree] if tree > 0 else []
    bandwidths += [2 * (nodes - 1) / nodes * size / ring] if ring > 0 else []
    return min(bandwidths, default=math.inf)


def rows(step_s: float, gpus: Sequence[int] = GPUS) -> Iterator[Row]:
    """Yield what a step of `step_s` seconds needs with each number of GPUs."""
    for count in gpus:
        seconds, half = (communication(count, gradient_bytes=width * PARAMETERS) for width in (4, 2))
        efficiency = step_s / (step_s + seconds)
        rate = count * BATCH / (step_s + seconds)
        gigabits = 8e-9 * needed_bandwidth(count, step_s)
        yield Row(count, seconds, efficiency, step_s / (step_s + half), rate, gigabits)


def table(steps: Mapping[str, float] | None = None, *, start_s: float = START_S) -> Iterator[str]:
    """Yield a table for each step time, and below it what limits a training.

    Args:
        steps: Seconds of a step of 16 images by name; None stands for `step_times`.
        start_s: Seconds before the first step.
    """
    for name, step_s in (steps or step_times()).items():
        title = f"{name}: {BATCH / step_s:,.0f} img/s, a step of {BATCH} images takes {1000 * step_s:.1f} ms"
        lines = [title, "  GPUs   allreduce   efficiency   with fp16    images/s   network for 0.95"]
        for row in rows(step_s):
            network = "latency" if math.isinf(row.gigabits) else f"{row.gigabits:,.0f} Gb/s"
            lines.append(
                f"{row.gpus:6}{1000 * row.seconds:9.2f} ms{row.efficiency:13.3f}{row.compressed:12.3f}"
                f"{row.images_per_s:12,.0f}{network if row.gigabits else '-':>19}"
            )
        yield "\n".join([*lines, *_limits(step_s, start_s)])


def _limits(step_s: float, start_s: float) -> Iterator[str]:
    rate = NODE * BATCH / step_s
    cores, pcie = rate / IMAGES_PER_CORE, IMAGE_BYTES * BATCH / step_s / 1e9
    yield f"  input: {rate:,.0f} img/s per node of 8 GPUs, {cores:.1f} CPU cores, {pcie:.2f} GB/s to each GPU"
    steps = EFFICIENCY / (1 - EFFICIENCY) * start_s / step_s
    yield f"  start: {start_s:.0f} s are {start_s / step_s:,.0f} steps, 5 % of the time at {steps:,.0f} steps"
