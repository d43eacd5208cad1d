"""Ranks: one process, or Horovod under mpirun, horovodrun or an MPIJob. The only user of Horovod."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyunet.core.console import cores
from tinyunet.core.errors import require

if TYPE_CHECKING:
    import tensorflow as tf

# Set by Open MPI, horovodrun and MPICH; the same list that Horovod itself reads.
SIZE_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE")

GROUP_BYTES = 1 << 20  # gradients that travel together: large against the latency of a message


@dataclass(frozen=True)
class World:
    """All ranks of one training.

    Attributes:
        rank: This process, 0 ≤ rank < size; rank 0 logs, checkpoints and tracks.
        size: World size.
        local_rank: Index on this host; decides the GPU.
        local_size: Ranks on this host.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def sum(self, tensor: "tf.Tensor") -> "tf.Tensor":
        """Sum a float32 or float64 tensor over all ranks; every rank gets the result."""
        if self.size == 1:
            return tensor
        hvd = _horovod()
        return hvd.allreduce(tensor, op=hvd.Sum)

    def sum_all(self, tensors: "Sequence[tf.Tensor]", *, compression: str = "none") -> "list[tf.Tensor]":
        """Sum each tensor over all ranks, in fused groups of neighbours.

        A group goes out as soon as all its tensors are there: with gradients, whose last is computed first,
        while the backward pass is still at the earlier ones. Those of several micro-batches come all at once.

        Args:
            tensors: float32 or float64.
            compression: `fp16` sends and sums float16: half the bytes, 11 bits of a number from 6e-5 to
                65504, less below, nothing under 3e-8.
        """
        if self.size == 1:
            return list(tensors)
        hvd = _horovod()
        kind = getattr(hvd.Compression, compression)
        return [
            total
            for group in _groups(tensors)
            for total in hvd.grouped_allreduce(group, op=hvd.Sum, compression=kind)
        ]

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        """Give every rank the values of rank 0."""
        if self.size > 1:
            _horovod().broadcast_variables(list(variables), root_rank=0)

    def broadcast_object(self, value: Any) -> Any:  # noqa: ANN401  any picklable value
        """Give every rank the object of rank 0."""
        return value if self.size == 1 else _horovod().broadcast_object(value, root_rank=0)

    def barrier(self) -> None:
        """Wait for every rank: a sum of nothing (Horovod's TensorFlow binding has no barrier)."""
        import tensorflow as tf

        self.sum(tf.zeros(1))

    def shutdown(self) -> None:
        """Leave together, so that no rank sees a broken connection."""
        if self.size > 1:
            self.barrier()
            _horovod().shutdown()


def init(*, deterministic: bool = False) -> World:
    """Join the ranks of this launch, pin this process's GPU and share out the CPU's cores.

    Without a launcher (or with one rank) Horovod is never imported.

    Args:
        deterministic: Operations shall give the same bits at any world size: each runs in one thread, as
            several threads add up in another order than one. Several operations still run at once, images of
            a training step, say; validation has one core.
    """
    if launched_size() == 1:
        world = World()
    else:
        hvd = _horovod()
        hvd.init()
        world = World(hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size())
    _configure_devices(world, deterministic=deterministic)
    return world


def launched_size() -> int:
    """World size that the launcher announced to this process, without joining it.

    Raises:
        UserError: if what it announced is no number.
    """
    name = next(filter(os.environ.get, SIZE_VARIABLES), "")
    value = os.environ.get(name, "1")
    require(value.isdecimal() and int(value) > 0, name, value, "the number of ranks, as mpirun sets it")
    return int(value)


def launched_rank() -> int:
    """Rank that the launcher gave to this process, without joining the others; 0 without a launcher."""
    name = next(filter(os.environ.get, SIZE_VARIABLES), "").replace("SIZE", "RANK")
    return int(os.environ.get(name, "0"))


def threads_per_rank(world: World) -> int:
    """Give this rank's part of the cores that its host lets it use."""
    return max(1, cores() // world.local_size)


def _configure_devices(world: World, *, deterministic: bool) -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus and world.size > 1:
        tf.config.set_visible_devices(gpus[world.local_rank % len(gpus)], "GPU")
    if world.local_size > 1 or deterministic:
        threads = 1 if deterministic else threads_per_rank(world)
        tf.config.threading.set_intra_op_parallelism_threads(threads)


def _groups(tensors: "Sequence[tf.Tensor]") -> "list[list[tf.Tensor]]":
    """Cut a list into groups of neighbours of at least GROUP_BYTES each, but for the first."""
    groups: list[list[tf.Tensor]] = [[]]
    for tensor in reversed(tensors):
        if sum(t.shape.num_elements() * t.dtype.size for t in groups[0]) >= GROUP_BYTES:
            groups.insert(0, [])
        groups[0].insert(0, tensor)
    return groups


def _horovod() -> Any:  # noqa: ANN401  a module without types
    import horovod.tensorflow as hvd

    return hvd
