"""Batches: which images are joined, which model computes them, and what an error costs."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.engine.engine import Inspection
from tinyunet.server.admission import Admission
from tinyunet.server.batching import Batcher, Job
from tinyunet.server.errors import RequestError
from tinyunet.server.holder import Served
from tinyunet.server.metrics import Metrics


@dataclass
class Recorder:
    """An engine that records its batches; the score of an image is its first pixel.

    Attributes:
        batches: Scores of every call.
        probabilities: Whether each call asked for probabilities.
        gate: Every call waits for it.
        bad: A batch with this score fails.
    """

    batches: list[list[int]] = field(default_factory=list)
    probabilities: list[bool] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    bad: int = -1

    def inspect(self, images: Sequence[NDArray[Any]], *, probability: bool = False) -> list[Inspection]:
        assert self.gate.wait(10)
        scores = [int(image[0, 0, 0]) for image in images]
        self.batches.append(scores)
        self.probabilities.append(probability)
        if self.bad in scores:
            raise UserError("the image is bad")
        return [
            Inspection(image[..., 0] > 0, float(s), s > 0) for image, s in zip(images, scores, strict=True)
        ]


def served(engine: Recorder, version: str = "1") -> Served:
    return Served(cast("Any", engine), "part-7", version)


def image(score: int, side: int = 4) -> NDArray[Any]:
    return np.full((side, side, 1), score, np.uint8)


def batcher_test(body: Callable[[Batcher], Any], max_batch: int = 4) -> None:
    """Run a coroutine with a batcher that has begun."""

    async def run() -> None:
        batcher = Batcher(Admission(64, 10**6, 10**6), max_batch, Metrics())
        batcher.start()
        try:
            await asyncio.wait_for(body(batcher), 20)
        finally:
            await batcher.stop()

    asyncio.run(run())


def test_images_of_one_size_that_wait_together_are_one_batch_and_each_gets_its_answer() -> None:
    engine = Recorder()
    model = served(engine)

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.run(model, [image(1)], probability=False))
        await asyncio.sleep(0.05)  # it is computed, and the others wait
        others = [
            asyncio.create_task(batcher.run(model, [image(i, side)], probability=False))
            for i, side in ((2, 4), (3, 8), (4, 4), (5, 8))
        ]
        await asyncio.sleep(0.05)
        engine.gate.set()
        jobs = [await first, *[await task for task in others]]
        assert [job.answer.result()[0].score for job in jobs] == [1, 2, 3, 4, 5]

    batcher_test(body)
    assert engine.batches == [[1], [2, 4], [3, 5]], "oldest first, and equal sizes together"


def test_a_batch_has_at_most_the_largest_number_of_images() -> None:
    engine = Recorder()
    engine.gate.set()
    model = served(engine)

    async def body(batcher: Batcher) -> None:
        many = await batcher.run(model, [image(i) for i in range(10)], probability=False)
        assert [one.score for one in many.answer.result()] == list(range(10))

    batcher_test(body)
    assert [len(batch) for batch in engine.batches] == [4, 4, 2]


def test_requests_are_computed_by_the_model_that_they_took() -> None:
    old, new = Recorder(), Recorder()
    new.gate.set()
    before, after = served(old), served(new, "2")

    async def body(batcher: Batcher) -> None:
        tasks = [
            asyncio.create_task(batcher.run(m, [image(i)], probability=False))
            for i, m in enumerate((before, after, before))
        ]
        await asyncio.sleep(0.05)
        old.gate.set()
        assert [(await task).served.version for task in tasks] == ["1", "2", "1"]

    batcher_test(body)
    assert (old.batches, new.batches) == ([[0, 2]], [[1]])


def test_an_image_that_fails_costs_the_others_of_its_batch_nothing() -> None:
    engine = Recorder(bad=3)
    model = served(engine)

    async def body(batcher: Batcher) -> None:
        tasks = [
            asyncio.create_task(batcher.run(model, [image(i)], probability=i == 4)) for i in (1, 2, 3, 4)
        ]
        await asyncio.sleep(0.05)
        engine.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[2], RequestError)
        assert (results[2].status, str(results[2])) == (500, "the image is bad")
        scores = [job.answer.result()[0].score for job in results if isinstance(job, Job)]
        assert scores == [1, 2, 4]

    batcher_test(body)


def test_a_cancelled_request_is_not_computed() -> None:
    engine = Recorder()
    model = served(engine)

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.run(model, [image(1)], probability=False))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(batcher.run(model, [image(2)], probability=True))
        third = asyncio.create_task(batcher.run(model, [image(3)], probability=False))
        await asyncio.sleep(0.01)
        second.cancel()
        engine.gate.set()
        await asyncio.gather(first, third)
        with pytest.raises(asyncio.CancelledError):
            await second

    batcher_test(body)
    assert engine.batches == [[1], [3]]
    assert engine.probabilities == [False, False]
