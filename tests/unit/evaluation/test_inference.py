"""Logits, counts and scores of a split."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.unit.data.native import native_split
from tests.unit.evaluation.splits import FixedLogits
from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Split, load_split
from tinyunet.data.records.stored import ImageSequence, StoredImages
from tinyunet.evaluation.inference import Predictor, evaluate_split, reduced
from tinyunet.model.poses import to_pose


@pytest.fixture(scope="module")
def network(model: Path) -> keras.Model:
    return keras.models.load_model(model / "model.keras", compile=False)


@pytest.fixture(scope="module")
def test_split(records: Path) -> Split:
    return load_split(records, "test", 64)


def test_with_eight_poses_a_rotated_image_has_the_rotated_logits(
    network: keras.Model, test_split: Split
) -> None:
    images = test_split.images[:2]
    one, eight = (Predictor(network, EvalConfig(test_time_poses=n)) for n in (1, 8))  # type: ignore[arg-type]
    rotated = np.asarray(to_pose(images, 5))
    np.testing.assert_allclose(eight.logits(rotated), to_pose(eight.logits(images), 5), rtol=1e-3, atol=1e-3)
    assert abs(one.logits(rotated) - np.asarray(to_pose(one.logits(images), 5))).max() > 1e-2


def test_the_batch_size_does_not_change_the_counts(network: keras.Model, test_split: Split) -> None:
    sixteen, five = (
        evaluate_split(Predictor(network, config), test_split, config).counts
        for config in (EvalConfig(), EvalConfig(batch_size=5))
    )
    assert abs(sixteen.tp - five.tp).max() <= 1  # rounding may move a pixel by a level
    assert (sixteen.positives == five.positives).all()


def test_a_half_covered_pixel_is_defective_by_its_label() -> None:
    masks = np.array([[[128, 127], [0, 255]]], np.uint8)
    split = Split("test", np.zeros_like(masks), masks, np.array([True]), ("a",))
    result = evaluate_split(FixedLogits(np.zeros((1, 2, 2), np.float32)), split, EvalConfig())
    assert result.counts.positives.tolist() == [2]


def test_the_largest_logits_are_the_scores_until_one_of_the_kinds_is_chosen() -> None:
    masks = np.zeros((1, 8, 8), np.uint8)
    logits = np.zeros((1, 8, 8), np.float32)
    logits[0, 0, 0], split = 25.0, Split("test", masks, masks, np.array([False]), ("a",))
    auto, smoothed = (
        evaluate_split(FixedLogits(logits), split, EvalConfig().replace({"image_score": kind}))
        for kind in ("auto", "smoothed")
    )
    assert {kind: float(scores[0]) for kind, scores in auto.rankings.items()} == {
        "max": 25.0, "top100": 25 / 64, "smoothed": 1.0,
    }  # fmt: skip
    assert (auto.scores[0], smoothed.scores[0], list(smoothed.rankings)) == (25.0, 1.0, ["smoothed"])


def test_a_logit_that_is_not_finite_is_refused_with_the_name_of_the_image() -> None:
    masks = np.zeros((1, 2, 2), np.uint8)
    split = Split("test", masks, masks, np.array([False]), ("0007",))
    with pytest.raises(UserError, match="logits on 0007 are not finite; expected numbers: train the model"):
        evaluate_split(FixedLogits(np.full((1, 2, 2), np.nan, np.float32)), split, EvalConfig())


class BandedLogits(Predictor):
    """A predictor whose logits are a part of the image's levels, in bands of some rows."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def each(self, images: ImageSequence) -> Iterator[Iterator[np.ndarray]]:
        for image in images:
            tops = range(0, len(image), self._rows)
            yield (image[top : top + self._rows].astype(np.float32) / 16 - 8 for top in tops)


@pytest.mark.parametrize("kind", ["max", "top100", "smoothed"])
def test_bands_give_the_counts_scores_and_regions_of_whole_images(kind: str) -> None:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, shape, np.uint8) for shape in ((50, 40), (33, 64))]
    split = native_split(pixels, [(image > 200) * np.uint8(255) for image in pixels])
    config = EvalConfig().replace({"image_score": kind})
    whole, banded = (evaluate_split(BandedLogits(rows), split, config, 0.5) for rows in (64, 13))
    for name in ("tp", "fp", "positives", "pixels"):
        np.testing.assert_array_equal(getattr(whole.counts, name), getattr(banded.counts, name))
    np.testing.assert_allclose(whole.scores, banded.scores, rtol=1e-12)
    assert whole.regions is not None
    assert banded.regions is not None
    assert sorted(whole.regions.area) == sorted(banded.regions.area)
    assert whole.counts.pixels.tolist() == [50 * 40, 33 * 64]


def test_the_memory_of_an_evaluation_does_not_depend_on_the_height_of_an_image() -> None:
    height, width = 8192, 512
    image = np.zeros((1, width), np.uint8).repeat(height, 0)
    image[100:110, 100:110] = image[5000:5010, 100:110] = 250

    def label(_: int, rows: slice) -> np.ndarray:
        return (image[rows] > 0) * np.uint8(255)

    images, masks = (
        StoredImages(read, np.arange(1), shape=None, dtype=np.uint8)
        for read in (lambda _, rows: image[rows], label)
    )
    split = Split("test", images, masks, np.array([True]), ("large",))
    tracemalloc.start()
    result = evaluate_split(BandedLogits(64), split, EvalConfig(), 0.5)
    (picture, marked, probability), *_ = reduced(BandedLogits(64), split, [0], 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * height * width  # bytes: the logits of all pixels would need more
    assert result.regions is not None
    assert result.regions.found(0.5).tolist() == [True, True]
    assert picture.shape == marked.shape == probability.shape == (256, 16)
    assert (marked == (probability > 0.5)).all()
    assert marked.sum() >= 2
