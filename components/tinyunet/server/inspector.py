"""Inspect what requests hold, for HTTP and gRPC alike: decode, wait, compute, encode."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePath
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.opening import opened
from tinyunet.engine.pictures import decode
from tinyunet.server.admission import Admission
from tinyunet.server.batching import Batcher
from tinyunet.server.errors import RequestError
from tinyunet.server.holder import CurrentModel, Served

if TYPE_CHECKING:
    from tinyunet.engine.engine import Inspection
    from tinyunet.server.authentication import TokenFile
    from tinyunet.server.metrics import Metrics, Stage
    from tinyunet.server.watch import Watch

T = TypeVar("T")
THREADS = 2  # that decode and encode; the network has one of its own


@dataclass
class Trace:
    """What the log says about one request.

    Attributes:
        request_id: Its id.
        seconds: Time by stage.
        version: Version of the model that answered; empty if none did.
        images: Number of images inspected.
        held: The room that its images hold until the client has taken the answer.
    """

    request_id: str
    seconds: dict[str, float] = field(default_factory=dict)
    version: str = ""
    images: int = 0
    held: ExitStack = field(default_factory=ExitStack)


@dataclass(frozen=True, eq=False)
class Answer:
    """The inspections of one request, in order, and the model that made them."""

    images: Sequence[NDArray[Any]]
    inspections: "Sequence[Inspection]"
    served: Served


@dataclass
class Station:
    """What the routes of HTTP and gRPC share.

    Attributes:
        inspector: Inspects images.
        metrics: Counts.
        token: Decides who may ask; None lets everybody ask.
        open_metrics: Whether /metrics needs no token.
        read_timeout: Seconds that a client has for a body.
        ready: Whether the server reports that it is ready; false from the signal to stop on.
    """

    inspector: "Inspector"
    metrics: "Metrics"
    token: "TokenFile | None" = None
    open_metrics: bool = False
    read_timeout: float = 30.0
    ready: bool = True


class Inspector:
    """The way of every inspection; its methods run in the event loop."""

    def __init__(
        self,
        current: CurrentModel,
        admission: Admission,
        batcher: Batcher,
        metrics: "Metrics",
        watch: "Watch",
    ) -> None:
        self.current, self.admission = current, admission
        self._batcher, self._metrics, self._watch = batcher, metrics, watch
        self._pool = ThreadPoolExecutor(THREADS, "pictures")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)

    async def picture(self, data: bytes, name: str, trace: Trace, encode: Callable[[Answer], T]) -> T:
        """Inspect an image file.

        Args:
            data: The file.
            name: Its name, or the empty string.
            trace: Is filled in.
            encode: Makes the answer, in a thread.

        Raises:
            RequestError: 400 or 413 if it is not an image for this model; 429 without room for it.
        """
        served = self.current.active
        start = perf_counter()
        try:
            height, width = await self.in_thread(_size, data)
            trace.held.enter_context(self.admission.hold_images(1, height, width))
            image = await self.in_thread(_decoded, data, served)
            self._record(trace, "decode", perf_counter() - start)
            return await self._answer(served, [image], name, trace, encode, probability=False)
        except UserError as error:
            raise RequestError(400, f"the image {error}") from error

    async def tensor(
        self,
        served: Served,
        images: NDArray[Any],
        trace: Trace,
        encode: Callable[[Answer], T],
        *,
        probability: bool,
    ) -> T:
        """Inspect images uint8 or uint16 [B, H, W, C] by a model that takes them; see `picture`."""
        count, height, width = images.shape[:3]
        trace.held.enter_context(self.admission.hold_images(count, height, width))
        return await self._answer(served, list(images), "", trace, encode, probability=probability)

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function in one of the threads for decoding and encoding."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _answer(
        self,
        served: Served,
        images: list[NDArray[Any]],
        name: str,
        trace: Trace,
        encode: Callable[[Answer], T],
        *,
        probability: bool,
    ) -> T:
        job = await self._batcher.run(served, images, probability=probability)
        done = perf_counter()
        self._record(trace, "queue", job.started_at - job.queued_at)
        trace.seconds["infer"] = done - job.started_at  # the metrics count it once for a batch
        inspections = job.answer.result()
        trace.version, trace.images = served.version, len(images)
        for image, inspection in zip(images, inspections, strict=True):
            self._metrics.verdict(defective=inspection.defective, score=inspection.score)
            self._watch.answered(image, inspection, name=PurePath(name).name)
        result = await self.in_thread(encode, Answer(images, inspections, served))
        self._record(trace, "encode", perf_counter() - done)
        return result

    def _record(self, trace: Trace, stage: "Stage", seconds: float) -> None:
        trace.seconds[stage] = seconds
        self._metrics.stage(stage, seconds)


def _size(data: bytes) -> tuple[int, int]:
    """Return height and width of an image file, by its header alone."""
    with opened(data) as picture:
        return picture.height, picture.width


def _decoded(data: bytes, served: Served) -> NDArray[Any]:
    return decode(data, served.engine.document)
