"""A model of weak scaling to many GPUs: `python -m tinyunet.bench.scaling` prints its table.

Nothing here was measured on this project's code: the step is NVIDIA's published one, the network textbook
α–β. It says what to expect and what would limit it; `tinyunet bench` measures what is there.

- A GPU's step of b images takes `LAUNCH_S` + b · `IMAGE_S`: the line through the A100, AMP figures of NVIDIA
  DeepLearningExamples, UNet_Industrial (16 images a step: 255.26 img/s; 4: 691.19 img/s on 4 GPUs). With 2
  images a GPU theirs is slower than this line, 24.0 ms a step: give a GPU work. The global batch grows with
  the GPUs here; its learning rate and steps are then to be chosen anew.
- An allreduce of M bytes over n members of a link (α seconds a message, β bytes/s) is the faster of a ring,
  2·(n - 1)·(α + M / (n·β)) (Thakur, Rabenseifner, Gropp 2005, "Optimization of Collective Communication
  Operations in MPICH"), and a double binary tree, 2·log2(n)·α + 2·M / β (Sanders, Speck, Träff 2009,
  "Two-tree algorithms for full bandwidth broadcast, reduction and scan"); NCCL has both.
- Nodes of 8 GPUs sum over NVLink first, then over one network card each, then share over NVLink.
- A step has two allreduces: 32 bytes of sums in the middle, and the gradients, taken here as one message
  after the backward pass. In fact all but the last 0.1 MB go out during it (`World.sum_all`), so that the
  table is a bound from below. Only the network is in it: Horovod's coordination (a cycle of up to 1 ms for
  each allreduce, HOROVOD_CYCLE_TIME) and ranks that wait for a slower one come on top.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tinyunet.model.unet import PARAMETERS

BATCH = 16  # images of a GPU per step
NODE = 8  # GPUs
IMAGE_S = (16 / 255.26 - 16 / 691.19) / 12
LAUNCH_S = 16 / 255.26 - 16 * IMAGE_S
SUMS_BYTES = 32


@dataclass(frozen=True)
class Link:
    """A network: seconds per message, bytes per second and direction."""

    alpha: float
    beta: float


NVLINK = Link(3e-6, 300e9)  # third generation, A100: 600 GB/s both ways (NVIDIA A100 data sheet)
ETHERNET = Link(20e-6, 12.5e9)  # 100 Gb/s; some 10 to 50 µs through the kernel's TCP


def allreduce(size: float, members: int, link: Link) -> float:
    """Give the seconds of an allreduce of `size` bytes."""
    if members == 1:
        return 0.0
    ring = 2 * (members - 1) * (link.alpha + size / (members * link.beta))
    tree = 2 * math.log2(members) * link.alpha + 2 * size / link.beta
    return min(ring, tree)


def communication(gpus: int, *, gradient_bytes: float) -> float:
    """Give the seconds that a step of `gpus` GPUs spends in its two allreduces."""
    inside, nodes = min(gpus, NODE), max(1, gpus // NODE)
    return sum(
        allreduce(size, inside, NVLINK) + allreduce(size, nodes, ETHERNET)
        for size in (SUMS_BYTES, gradient_bytes)
    )


def rows() -> Iterator[tuple[int, float, float, float]]:
    """Give GPUs, compression's bytes per number, seconds of communication, and efficiency."""
    alone = LAUNCH_S + BATCH * IMAGE_S
    for width in (4, 2):
        for gpus in (1, 8, 64, 512):
            seconds = communication(gpus, gradient_bytes=width * PARAMETERS)
            yield gpus, width, seconds, alone / (alone + seconds)


def main() -> None:
    """Print the table."""
    print(f"{BATCH} images per GPU, step of {1000 * (LAUNCH_S + BATCH * IMAGE_S):.1f} ms alone")
    print("  GPUs  compression   allreduce   efficiency    images/s")
    for gpus, width, seconds, efficiency in rows():
        rate = gpus * BATCH / (LAUNCH_S + BATCH * IMAGE_S) * efficiency
        name = {4: "none", 2: "fp16"}[int(width)]
        print(f"{gpus:6}  {name:11}{1000 * seconds:9.2f} ms{efficiency:13.3f}{rate:12,.0f}")


if __name__ == "__main__":
    main()
