"""The statistics of an image, on arrays whose values are computed by hand and on generated textures."""

from time import perf_counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tinyunet.data.synthetic.textures import KINDS
from tinyunet.engine.statistics import CAUSES, CROP, WHOLE, measure, names


def values(image: NDArray[np.integer], image_size: int = 0) -> dict[str, float]:
    channels = image.shape[2] if image.ndim == 3 else 1
    return dict(zip(names(channels), measure(image, image_size), strict=True))


def texture(number: int, seed: int, size: int = 128) -> NDArray[np.uint8]:
    image = KINDS[number].texture(np.random.default_rng(seed), size)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def test_every_statistic_belongs_to_a_cause() -> None:
    for channels in (1, 3):
        assert {name.partition(".")[0] for name in names(channels)} <= set(CAUSES)
        shape = (20, 30, channels)
        assert measure(np.ones(shape, np.uint8)).shape == (len(names(channels)),)


def test_brightness_and_contrast_are_fractions_of_the_largest_level() -> None:
    half = np.repeat(np.array([[0, 255]], np.uint8), 8, axis=0).repeat(4, axis=1)
    assert values(half)["brightness"] == pytest.approx(0.5)
    assert values(half)["contrast"] == pytest.approx(0.5)


def test_sixteen_bits_give_the_values_of_eight_bits() -> None:
    image = texture(5, 0)
    assert measure(image.astype(np.uint16) * 257) == pytest.approx(measure(image), abs=1e-4)


def test_colours_are_measured_beside_the_grey_levels_of_their_luminance() -> None:
    grey = texture(5, 0)
    same = values(np.stack([grey] * 3, axis=2))
    assert [same[name] for name in names(1)] == pytest.approx(list(measure(grey)), abs=1e-4)
    assert (same["colour.red"], same["colour.blue"]) == pytest.approx((0, 0), abs=1e-6)
    warm = np.zeros((4, 4, 3), np.uint8) + np.array([255, 51, 0], np.uint8)
    assert (values(warm)["colour.red"], values(warm)["colour.blue"]) == pytest.approx((0.8, -0.2))


def test_more_light_changes_brightness_and_contrast_but_no_other_statistic() -> None:
    image = texture(5, 0)
    before, after = values(image), values(np.rint(image * 1.2).clip(0, 255).astype(np.uint8))
    assert after["brightness"] == pytest.approx(1.2 * before["brightness"], rel=0.01)
    assert after["contrast"] == pytest.approx(1.2 * before["contrast"], rel=0.02)
    for name in before.keys() - {"brightness", "contrast"}:
        assert after[name] == pytest.approx(before[name], abs=0.05), name


@pytest.mark.parametrize("number", sorted(KINDS))
def test_a_blurred_texture_is_less_sharp_than_any_image_of_its_class(number: int) -> None:
    sharp = [values(texture(number, seed))["sharpness"] for seed in range(10)]
    blurred = gaussian_filter(texture(number, 0).astype(np.float32), 1.5).round().astype(np.uint8)
    assert values(blurred)["sharpness"] < min(sharp)


def test_rows_and_columns_are_told_apart() -> None:
    image = texture(2, 0)  # streaks
    across, along = values(image)["texture.direction"], values(image.T)["texture.direction"]
    assert along == pytest.approx(-across, abs=1e-5)
    assert abs(across) > 1


def test_an_image_is_measured_at_the_size_at_which_the_network_sees_it() -> None:
    image = texture(5, 0, 256)
    quarters = image.reshape(64, 4, 64, 4).sum(axis=(1, 3), dtype=np.int64)
    reduced = ((quarters + 8) // 16).astype(np.uint8)
    assert list(measure(image, 64)) == list(measure(reduced))
    assert values(image, 64)["sharpness"] > values(image)["sharpness"]


def test_a_large_image_is_measured_on_crops_at_its_own_scale() -> None:
    tile = texture(5, 0, CROP)
    large = np.tile(tile, (6, 6))
    assert large.size > WHOLE
    assert measure(large) == pytest.approx(measure(tile), abs=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3)])
def test_tiny_and_flat_images_have_finite_values(shape: tuple[int, int]) -> None:
    assert np.isfinite(measure(np.full(shape, 7, np.uint8))).all()


def test_an_image_of_512_pixels_costs_a_few_milliseconds() -> None:
    image = texture(5, 0, 512)
    measure(image)
    seconds = []
    for _ in range(5):
        start = perf_counter()
        measure(image)
        seconds.append(perf_counter() - start)
    assert min(seconds) < 0.02
