"""A performance model of weak scaling to many GPUs: `tinyunet scaling` prints its table.

The model does not use measurements of this project's code. The time of a step comes from figures that NVIDIA
published, and the time of a message follows the α–β model. The table shows which efficiency to expect and
what limits it. `tinyunet bench` measures the real machine.

- A step with b images per GPU takes `LAUNCH_S` + b · `IMAGE_S` seconds. This is the line through two figures
  of NVIDIA DeepLearningExamples, UNet_Industrial, on A100 with AMP: 255.26 img/s on one GPU (16 images per
  GPU), and 691.19 img/s on 4 GPUs (4 images per GPU). With 2 images per GPU their step takes 24.0 ms, more
  than on this line: a GPU needs enough images. In this model, the global batch grows with the number of GPUs;
  for such a batch, the learning rate and the number of steps must be chosen again.
- An allreduce of M bytes over n members of a link (α seconds per message, β bytes/s) takes the shorter of two
  times: that of a ring, 2·(n - 1)·(α + M / (n·β)) (Thakur, Rabenseifner, Gropp 2005, "Optimization of
  Collective Communication Operations in MPICH"), and that of a double binary tree, 2·log2(n)·α + 2·M / β
  (Sanders, Speck, Träff 2009, "Two-tree algorithms for full bandwidth broadcast, reduction and scan"). NCCL
  implements both.
- The 8 GPUs of a node add up their values over NVLink. The nodes then add up these sums over one network card
  per node, and distribute the result over NVLink.
- A step has two allreduces: 32 bytes of loss terms in the middle of the step, and the gradients, which this
  model treats as one message after the backward pass. In practice all but the last 0.1 MB are sent during the
  backward pass (`World.sum_all`). With respect to the network, the efficiency is therefore a lower bound. The
  model does not include Horovod's coordination (a cycle of up to 1 ms for each allreduce,
  HOROVOD_CYCLE_TIME), nor the time that ranks wait for a slower rank.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tinyunet.model.unet import PARAMETERS

BATCH = 16  # images per GPU and step
NODE = 8  # GPUs per node
IMAGE_S = (16 / 255.26 - 16 / 691.19) / 12
LAUNCH_S = 16 / 255.26 - 16 * IMAGE_S
SUMS_BYTES = 32


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


def allreduce(size: float, members: int, link: Link) -> float:
    """Return the seconds of an allreduce of `size` bytes."""
    if members == 1:
        return 0.0
    ring = 2 * (members - 1) * (link.alpha + size / (members * link.beta))
    tree = 2 * math.log2(members) * link.alpha + 2 * size / link.beta
    return min(ring, tree)


def communication(gpus: int, *, gradient_bytes: float) -> float:
    """Return the seconds that a step of `gpus` GPUs spends in its two allreduces."""
    inside, nodes = min(gpus, NODE), max(1, gpus // NODE)
    return sum(
        allreduce(size, inside, NVLINK) + allreduce(size, nodes, ETHERNET)
        for size in (SUMS_BYTES, gradient_bytes)
    )


def rows() -> Iterator[tuple[int, float, float, float]]:
    """Yield GPUs, bytes per number after compression, seconds of communication, and efficiency."""
    compute = LAUNCH_S + BATCH * IMAGE_S
    for width in (4, 2):
        for gpus in (1, 8, 64, 512):
            seconds = communication(gpus, gradient_bytes=width * PARAMETERS)
            yield gpus, width, seconds, compute / (compute + seconds)


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    step_ms = 1000 * (LAUNCH_S + BATCH * IMAGE_S)
    yield f"{BATCH} images per GPU, step of {step_ms:.1f} ms without communication"
    yield "  GPUs  compression   allreduce   efficiency    images/s"
    for gpus, width, seconds, efficiency in rows():
        rate = gpus * BATCH / (LAUNCH_S + BATCH * IMAGE_S) * efficiency
        name = {4: "none", 2: "fp16"}[int(width)]
        yield f"{gpus:6}  {name:11}{1000 * seconds:9.2f} ms{efficiency:13.3f}{rate:12,.0f}"
