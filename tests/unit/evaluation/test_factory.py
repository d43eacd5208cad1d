"""The results of a split in the words of a production line."""

import dataclasses

import numpy as np
import pytest

from tests.unit.evaluation.splits import FixedLogits, four_images
from tests.unit.examples import records_manifest
from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.factory import Factory
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.dataset import Split
from tinyunet.evaluation.factory import describe, share
from tinyunet.evaluation.inference import SplitResult, evaluate_split

SIDE = 32


def six_parts() -> SplitResult:
    """Return the result of two good parts, two with holes, and two with scratches, at the threshold 0.5.

    The first good part has two false alarms. The first hole (1 pixel) is found, the second (9 pixels) is
    missed, beside a false alarm. Of the two scratches (20 pixels each) in the fifth part one is found; the
    last one (400 pixels) is found.
    """
    masks, logits = np.zeros((6, SIDE, SIDE), np.uint8), np.full((6, SIDE, SIDE), -5.0, np.float32)
    masks[2, 4, 4] = masks[3, 1:4, 1:4] = masks[4, 2, 2:22] = masks[4, 9, 2:22] = masks[5, 5:25, 5:25] = 255
    logits[0, 3, 3] = logits[0, 20, 20] = logits[3, 20, 20:25] = 1
    logits[2, 4, 3:6] = logits[4, 2, 2] = logits[5, 5, 5] = 3
    types = ("", "", "hole", "hole", "scratch", "scratch")
    split = Split("test", masks, masks, masks.any(axis=(1, 2)), tuple("abcdef"), types)
    return evaluate_split(FixedLogits(logits), split, EvalConfig(), 0.5)


def described(result: SplitResult, *, image_threshold: float = 2.0, trained: tuple[str, ...] = ()) -> Factory:
    manifest: RecordsManifest = records_manifest()
    train = manifest.splits["train"].model_copy(update={"types": trained})
    factory = describe(result, manifest.model_copy(update={"splits": {"train": train}}), 0.5, image_threshold)
    assert factory is not None
    return factory


def test_defects_false_alarms_and_parts_are_those_counted_by_hand() -> None:
    factory = described(six_parts())
    assert (factory.found.count, factory.found.of, factory.found.rate) == (3, 5, 0.6)
    assert (factory.false_alarms, factory.good_parts, factory.false_alarms_per_1000) == (2, 2, 1000)
    assert factory.false_alarms_defective == 1
    assert factory.passed is not None
    assert factory.stopped is not None
    assert (factory.passed.count, factory.passed.of) == (1, 4)
    assert (factory.stopped.count, factory.stopped.of) == (0, 2)
    assert described(six_parts(), image_threshold=0.0).stopped == share(np.array([True, False]))


def test_every_type_has_its_parts_defects_and_mean_dice() -> None:
    hole, scratch = described(six_parts()).types
    assert (hole.type, hole.parts, hole.passed, hole.defects, hole.found) == ("hole", 2, 1, 2, 1)
    assert hole.dice == pytest.approx((2 / 4 + 0) / 2)
    assert (scratch.type, scratch.parts, scratch.passed, scratch.defects, scratch.found) == (
        "scratch", 2, 0, 3, 2,
    )  # fmt: skip
    assert scratch.dice == pytest.approx((2 / 41 + 2 / 401) / 2)


def test_defects_are_grouped_by_powers_of_ten_of_their_area() -> None:
    sizes = [(size.smallest, size.largest, size.defects, size.found) for size in described(six_parts()).sizes]
    assert sizes == [(1, 9, 2, 1), (10, 99, 2, 1), (100, 999, 1, 1)]


def test_types_that_no_training_image_shows_are_named() -> None:
    assert described(six_parts(), trained=("hole",)).unseen_types == ("scratch",)
    assert described(six_parts(), trained=("hole", "scratch")).unseen_types == ()
    assert described(six_parts()).unseen_types == ()  # those of training are not known


def test_without_types_there_is_no_table_of_types() -> None:
    factory = describe(evaluated(four_images([-3, -1, 2, 4])), records_manifest(), 0.5, 0.0)
    assert factory is not None
    assert factory.types == ()


def evaluated(result: SplitResult, threshold: float = 0.5) -> SplitResult:
    """Evaluate again with a threshold: a logit of 9 at every defective pixel, -9 elsewhere."""
    logits = np.where(np.asarray(result.split.masks) > 0, 9, -9).astype(np.float32)
    return evaluate_split(FixedLogits(logits), result.split, EvalConfig(), threshold)


def test_without_good_parts_there_is_no_verdict_on_parts() -> None:
    defective = [2, 3, 4, 5]
    split = six_parts().split
    selected = Split(
        "test", split.images[defective], split.masks[defective], split.defective[defective],
        split.names[2:], split.types[2:],
    )  # fmt: skip
    factory = described(evaluated(dataclasses.replace(six_parts(), split=selected)))
    assert (factory.passed, factory.stopped, factory.false_alarms_per_1000) == (None, None, None)
    assert [row.passed for row in factory.types] == [None, None]
    assert factory.found.rate == 1


def test_there_is_no_description_without_a_pixel_threshold() -> None:
    assert describe(four_images([-3, -1, 2, 4]), records_manifest(), 0.5, 0.0) is None


def test_intervals_are_those_of_wilson() -> None:
    half = share(np.array([True] * 50 + [False] * 50))
    # (p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.645, n = 100
    assert half.interval == pytest.approx((0.4189, 0.5811), abs=1e-4)
    assert share(np.zeros(0, bool)).interval is None
