"""Tiles: the result is that of the untiled image, and memory does not grow with the image."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tinyunet.model import tiles
from tinyunet.model.metrics import image_score
from tinyunet.model.tiles import HALO, RunningScore, bands, count_tiles, predict_images, split_axis
from tinyunet.model.unet import build_unet, forward_function

TILE = 2 * HALO + 64


@pytest.fixture(scope="module")
def network() -> tiles.Network:
    """A network with random weights, whose biases are not zero."""
    model = build_unet(seed=3, scale=0.02, offset=-2.5)
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.05, w.shape) * (w.ndim == 1) for w in model.get_weights()])
    forward = forward_function(model)
    return lambda images: forward(tf.constant(images)).numpy()[..., 0]


def texture(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def test_tiled_logits_equal_those_of_the_whole_image(network: tiles.Network) -> None:
    image = texture(TILE + 75, TILE + 150)
    assert count_tiles(image.shape, TILE) > 3
    (whole,) = bands(network, image, tile=2 * TILE)
    tiled = np.concatenate(list(bands(network, image, tile=TILE)))
    assert tiled.shape == whole.shape == image.shape
    np.testing.assert_allclose(tiled, whole, atol=1e-4, rtol=0)


def test_no_logit_of_a_core_depends_on_a_pixel_outside_the_halo(network: tiles.Network) -> None:
    image = texture(32, 2 * HALO + 16)
    before = network(image[None])[0]
    for outside, core in ((slice(HALO + 16, None), slice(0, 16)), (slice(0, 16), slice(HALO + 16, None))):
        changed = image.copy()
        changed[:, outside] = 255 - changed[:, outside]
        np.testing.assert_allclose(network(changed[None])[0][:, core], before[:, core], atol=1e-4)


@pytest.mark.parametrize("length", [16, TILE, TILE + 16, 2 * TILE, 5 * TILE + 48])
def test_the_cores_of_the_tiles_cover_an_axis_once(length: int) -> None:
    parts = split_axis(length, TILE)
    assert [i for part in parts for i in range(part.core_start, part.core_stop)] == list(range(length))
    for part in parts:
        assert part.start % 16 == 0
        assert part.stop - part.start <= TILE
        assert part.start == 0 or part.core_start - part.start >= HALO
        assert part.stop == length or part.stop - part.core_stop >= HALO


def test_images_of_any_size_have_logits_of_their_size(network: tiles.Network) -> None:
    images = [texture(40, 50), texture(40, 50), texture(1, 3), texture(16, 70)]
    maps = [np.concatenate(list(each)) for each in predict_images(network, images, batch_size=4)]
    assert [each.shape for each in maps] == [image.shape for image in images]
    (alone,) = bands(network, images[1])
    np.testing.assert_allclose(maps[1], alone, atol=1e-4)


def test_equal_images_are_predicted_in_batches_and_the_pixels_of_a_batch_are_limited() -> None:
    batches: list[tuple[int, ...]] = []

    def record(images: tiles.Image) -> tiles.Logits:
        batches.append(images.shape)
        return np.zeros(images.shape[:3], np.float32)

    images = [*[texture(40, 50)] * 5, texture(40, 51), *[np.zeros((700, 600), np.uint8)] * 2]
    list(map(list, predict_images(record, images, batch_size=4)))
    assert batches == [(4, 48, 64), (1, 48, 64), (1, 48, 64), (1, 704, 608), (1, 704, 608)]


def test_the_progress_of_a_large_image_counts_its_tiles() -> None:
    shapes: list[tuple[int, ...]] = []
    done: list[None] = []

    def progress(image: tiles.Image) -> Callable[[], None]:
        shapes.append(image.shape)
        return lambda: done.append(None)

    def zeros(images: tiles.Image) -> tiles.Logits:
        return np.zeros(images.shape[:3], np.float32)

    images = [texture(40, 50), np.zeros((1000, 900), np.uint8)]
    list(map(list, predict_images(zeros, images, batch_size=4, progress=progress)))
    assert (shapes, len(done)) == ([(1000, 900)], count_tiles((1000, 900)))


@pytest.mark.parametrize("kind", ["max", "top100", "smoothed"])
def test_the_score_of_bands_is_that_of_the_whole_image(kind: str) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    score = RunningScore(kind)
    for band in np.split(logits, [7, 12, 13, 31]):
        score.add(band)
    assert score.value() == pytest.approx(image_score(logits[None], kind)[0])


def test_an_image_smaller_than_the_smoothing_window_has_a_score() -> None:
    score = RunningScore("smoothed")
    score.add(np.full((2, 3), 4.0, np.float32))
    assert score.value() == 4.0
