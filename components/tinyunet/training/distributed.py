"""The ranks of a training: one process, or Horovod's processes under mpirun, horovodrun or an MPIJob.

This is the only module that imports Horovod.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyunet.core.console import cores
from tinyunet.core.errors import require

if TYPE_CHECKING:
    import tensorflow as tf

# Variables that Open MPI, horovodrun and MPICH set, in the order in which Horovod reads them.
SIZE_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE")
LOCAL_RANK_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_RANK", "HOROVOD_LOCAL_RANK", "MPI_LOCALRANKID")

# Size of a group of gradients that are reduced together. Its transfer takes long compared to the latency.
GROUP_BYTES = 1 << 20


@dataclass(frozen=True)
class World:
    """All ranks of one training.

    Attributes:
        rank: Rank of this process, 0 ≤ rank < size. Only rank 0 logs, tracks and writes checkpoints.
        size: World size.
        local_rank: Rank among the processes of this host; it selects the GPU.
        local_size: Number of ranks on this host.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def sum(self, tensor: "tf.Tensor") -> "tf.Tensor":
        """Return the sum of a float32 or float64 tensor over all ranks, the same on every rank."""
        if self.size == 1:
            return tensor
        hvd = _horovod()
        return hvd.allreduce(tensor, op=hvd.Sum)

    def sum_all(self, tensors: "Sequence[tf.Tensor]", *, compression: str = "none") -> "list[tf.Tensor]":
        """Return the sums of several tensors over all ranks; neighbouring tensors are reduced in one group.

        The reduction of a group starts as soon as all its tensors are computed. The last gradients are
        computed first, so their reduction overlaps with the rest of the backward pass. With several
        micro-batches all gradients are complete at the same time, and nothing overlaps.

        Args:
            tensors: float32 or float64.
            compression: `fp16` transfers and sums float16, half the bytes: 11 significant bits from 6e-5 to
                65504, fewer below, and zero under 3e-8.
        """
        if self.size == 1:
            return list(tensors)
        hvd = _horovod()
        compressor = getattr(hvd.Compression, compression)
        return [
            total
            for group in _groups(tensors)
            for total in hvd.grouped_allreduce(group, op=hvd.Sum, compression=compressor)
        ]

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        """Assign the values of rank 0 to the variables of every rank."""
        if self.size > 1:
            _horovod().broadcast_variables(list(variables), root_rank=0)

    def broadcast_object(self, value: Any) -> Any:  # noqa: ANN401  any picklable value
        """Return the object of rank 0 on every rank."""
        return value if self.size == 1 else _horovod().broadcast_object(value, root_rank=0)

    def barrier(self) -> None:
        """Wait for every rank by a sum of zeros; Horovod's TensorFlow module has no barrier."""
        import tensorflow as tf

        self.sum(tf.zeros(1))

    def shutdown(self) -> None:
        """Wait for every rank and end Horovod, so that no rank sees a closed connection."""
        if self.size > 1:
            self.barrier()
            _horovod().shutdown()


def init(*, deterministic: bool = False) -> World:
    """Join the other ranks, select the GPU of this process, and divide the CPU's cores among the ranks.

    Without a launcher, and with one rank, Horovod is not imported.

    Args:
        deterministic: Whether operations give the same bits at any world size. Each operation then runs in
            one thread, because several threads add numbers in another order. Several operations, such as
            the images of a training step, still run in parallel; validation uses one core.
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
    """Return the world size from the launcher's environment variables, without joining the other ranks.

    Raises:
        UserError: if the variable is not a positive number.
    """
    name = next(filter(os.environ.get, SIZE_VARIABLES), "")
    value = os.environ.get(name, "1")
    require(value.isdecimal() and int(value) > 0, name, value, "the number of ranks, as mpirun sets it")
    return int(value)


def launched_rank() -> int:
    """Return the rank from the launcher's environment variables, without joining; 0 without a launcher."""
    name = next(filter(os.environ.get, SIZE_VARIABLES), "").replace("SIZE", "RANK")
    return int(os.environ.get(name, "0"))


def launched_local_rank() -> int | None:
    """Return the rank among the processes of this host from the launcher's environment variables.

    Returns:
        The rank; 0 without a launcher, and None if the launcher sets no such variable.
    """
    if launched_size() == 1:
        return 0
    name = next(filter(os.environ.get, LOCAL_RANK_VARIABLES), None)
    return int(os.environ[name]) if name else None


def threads_per_rank(world: World) -> int:
    """Return the number of CPU cores for one rank, at least one."""
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
    """Divide a list into groups of neighbours; each but the first has at least GROUP_BYTES."""
    groups: list[list[tf.Tensor]] = [[]]
    for tensor in reversed(tensors):
        if sum(t.shape.num_elements() * t.dtype.size for t in groups[0]) >= GROUP_BYTES:
            groups.insert(0, [])
        groups[0].insert(0, tensor)
    return groups


def _horovod() -> Any:  # noqa: ANN401  a module without types
    import horovod.tensorflow as hvd

    return hvd
