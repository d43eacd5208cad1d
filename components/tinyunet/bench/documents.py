"""Documents that the measuring processes of `tinyunet bench` print as one line of JSON."""

from tinyunet.core.documents.base import JsonObject


class StepTimes(JsonObject):
    """Times of training steps, measured by `bench.kernels`.

    Attributes:
        step_ms: Milliseconds of each step.
    """

    step_ms: list[float]


class PeakMemory(JsonObject):
    """Peak memory of a process, measured by `bench.children`.

    Attributes:
        peak_mib: Peak resident memory in MiB.
    """

    peak_mib: float


class Allreduce(JsonObject):
    """Sums over the ranks, measured by `bench.gpu`.

    Attributes:
        error: Largest difference of a sum from the exact one.
        seconds: Time of an allreduce, for each size.
    """

    error: float
    seconds: list[float]


class RankTimes(JsonObject):
    """Times of a training step, measured by `bench.ranks`, in seconds.

    Attributes:
        images_per_s: Images per second over all ranks.
        whole: One iteration of the loop.
        input_wait: Wait for the next batch.
        forward_backward: Forward and backward pass on one rank.
        optimizer: Update of the weights.
        allreduce: Sum of the loss terms and of the gradients over the ranks; None on one rank.
        allreduce_bytes: Bytes that a rank passes to the allreduce in one step; None on one rank.
    """

    images_per_s: float
    whole: float
    input_wait: float
    forward_backward: float
    optimizer: float
    allreduce: float | None = None
    allreduce_bytes: int | None = None


class StartTimes(JsonObject):
    """Times from the start of a process to the second step of a training, measured by `bench.start`.

    The attributes are the seconds of the parts that `bench.start` describes, in the order of time.
    """

    python: float
    tensorflow: float
    project: float
    join: float
    mlflow: float
    prepare: float
    records: float
    first_step: float
    second_step: float

    @property
    def to_first_step(self) -> float:
        """Seconds from the start of the process to the end of the first step."""
        return float(sum(value for name, value in self if name != "second_step"))
