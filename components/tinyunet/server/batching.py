"""Join images of one size that wait at the same time to batches, and compute them in a thread."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.server.admission import Admission
from tinyunet.server.errors import RequestError
from tinyunet.server.holder import Served

if TYPE_CHECKING:
    from tinyunet.engine.engine import Inspection
    from tinyunet.server.metrics import Metrics

DELAY_S = 0.003  # so long a batch waits for images that are being decoded


@dataclass(eq=False)
class Job:
    """The images of one request.

    Attributes:
        served: Computes the answer.
        images: uint8 or uint16 [H, W, C], all of one size.
        probability: Whether the answers hold the probabilities.
        answer: The inspections, in order.
        queued_at: When the job began to wait.
        started_at: When its batch began.
    """

    served: Served
    images: Sequence[NDArray[Any]]
    probability: bool
    answer: "asyncio.Future[list[Inspection]]"
    queued_at: float
    started_at: float = 0.0

    def joins(self, other: "Job") -> bool:
        """Return whether this job may be in one batch with another one."""
        mine, others = self.images[0], other.images[0]
        return self.served is other.served and (mine.shape, mine.dtype) == (others.shape, others.dtype)


class Batcher:
    """The queue before the network. Admission bounds its length; use it in the event loop only."""

    def __init__(self, admission: Admission, max_batch: int, metrics: "Metrics") -> None:
        self._admission, self._max_batch, self._metrics = admission, max_batch, metrics
        self._jobs: list[Job] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "network")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Start to compute, and return the task, which ends only by an error; call it in the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())
        return self._task

    async def stop(self) -> None:
        """End the computing; requests that still wait fail."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for job in self._jobs:
            job.answer.cancel()
        self._thread.shutdown(wait=True)

    async def run(self, served: Served, images: Sequence[NDArray[Any]], *, probability: bool) -> Job:
        """Inspect the images of one request, which are all of one size.

        Raises:
            RequestError: 500 if the model cannot compute them; they were compared with its document before.
        """
        future = asyncio.get_running_loop().create_future()
        job = Job(served, images, probability, future, perf_counter())
        self._jobs.append(job)
        self._arrived.set()
        self._metrics.queue_length(self._waiting())
        try:
            await job.answer
        except UserError as error:
            raise RequestError(500, str(error)) from error
        return job

    def _waiting(self) -> int:
        return sum(len(job.images) for job in self._jobs)

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if self._waiting() < min(self._max_batch, self._admission.images):
                await asyncio.sleep(DELAY_S)
            batch = self._take()
            if batch:
                await self._compute(batch)

    def _take(self) -> list[Job]:
        """Remove the jobs of the next batch from the queue: the oldest one, and those that join it."""
        waiting = [job for job in self._jobs if not job.answer.done()]  # the others were cancelled
        batch: list[Job] = []
        count = 0
        for job in waiting:
            fits = not batch or (job.joins(batch[0]) and count + len(job.images) <= self._max_batch)
            if fits:
                batch.append(job)
                count += len(job.images)
        self._jobs = [job for job in waiting if job not in batch]
        if not self._jobs:
            self._arrived.clear()
        self._metrics.queue_length(self._waiting())
        return batch

    async def _compute(self, batch: list[Job]) -> None:
        """Compute a batch; if that fails, its jobs one by one, so that none costs another one its answer."""
        start = perf_counter()
        for job in batch:
            job.started_at = start
        images = [image for job in batch for image in job.images]
        try:
            results = await self._inspect(
                batch[0].served, images, probability=any(j.probability for j in batch)
            )
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    await self._compute([job])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        seconds = perf_counter() - start
        self._metrics.batch(len(images))
        self._metrics.stage("infer", seconds)
        self._admission.measured(seconds / len(images))
        for job in batch:
            own, results = results[: len(job.images)], results[len(job.images) :]
            if not job.answer.done():
                job.answer.set_result(own)

    async def _inspect(
        self, served: Served, images: list[NDArray[Any]], *, probability: bool
    ) -> "list[Inspection]":
        """Inspect images, at most `max_batch` at a time."""
        loop, size = asyncio.get_running_loop(), self._max_batch

        def compute() -> "list[Inspection]":
            parts = (images[i : i + size] for i in range(0, len(images), size))
            return [one for part in parts for one in served.engine.inspect(part, probability=probability)]

        return await loop.run_in_executor(self._thread, compute)
