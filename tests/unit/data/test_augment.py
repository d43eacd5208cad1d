import itertools

import numpy as np
import pytest

from tinyunet.core.presets import FAST
from tinyunet.data.augment import Augmentation, draw_augmentation, pose, shift_into, warps


def _draw_poses(kind: str) -> set[bytes]:
    marker = np.arange(9, dtype=np.uint8).reshape(3, 3)
    config = FAST.replace({"poses": kind, "global_batch": 400})
    augmentation = draw_augmentation(np.random.default_rng(0), config, 32, 0.0, 1.0)
    return {
        np.ascontiguousarray(pose(marker, flip=flip, turns=turns)).tobytes()
        for flip, turns in zip(augmentation.flips, augmentation.turns, strict=True)
    }


def test_dihedral_draws_all_eight_poses() -> None:
    assert len(_draw_poses("dihedral")) == 8


def test_published_draws_six_poses_and_never_a_rotation_by_270_degrees() -> None:
    marker = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert len(_draw_poses("published")) == 6
    assert _draw_poses("published") < _draw_poses("dihedral")
    assert np.ascontiguousarray(np.rot90(marker, 3)).tobytes() not in _draw_poses("published")


def test_a_pose_mirrors_first_and_rotates_counter_clockwise() -> None:
    image = np.array([[1, 2], [3, 4]], np.uint8)
    np.testing.assert_array_equal(pose(image, flip=True, turns=0), [[2, 1], [4, 3]])
    np.testing.assert_array_equal(pose(image, flip=False, turns=1), [[2, 4], [1, 3]])
    np.testing.assert_array_equal(pose(image, flip=True, turns=1), [[1, 3], [2, 4]])


def test_a_shift_reflects_without_repeating_the_border() -> None:
    image = np.arange(25, dtype=np.uint8).reshape(5, 5)
    out = np.empty_like(image)
    shift_into(out, image, 0, 2)
    np.testing.assert_array_equal(out[0], [2, 1, 0, 1, 2])
    shift_into(out, image, -1, 0)
    np.testing.assert_array_equal(out[:, 0], [5, 10, 15, 20, 15])


@pytest.mark.parametrize(("down", "right"), list(itertools.product((-7, -1, 0, 3, 7), repeat=2)))
def test_every_shift_equals_a_crop_of_the_padded_image(down: int, right: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, (16, 16), dtype=np.uint8)
    out = np.empty_like(image)
    shift_into(out, np.rot90(image), down, right)
    padded = np.pad(np.rot90(image), 7, mode="reflect")
    np.testing.assert_array_equal(out, padded[7 - down : 23 - down, 7 - right : 23 - right])


def _draw(**changes: object) -> Augmentation:
    config = FAST.replace({"global_batch": 4000, **changes})
    return draw_augmentation(np.random.default_rng(3), config, 64, 100.0, 20.0)


def test_shifts_take_every_value_of_their_range_and_no_other() -> None:
    shifts = _draw(max_shift=0.1875).shifts  # 0.1875 · 64 = 12 pixels
    assert sorted(set(shifts.ravel().tolist())) == list(range(-12, 13))


def test_the_largest_shift_fits_a_small_image() -> None:
    config = FAST.replace({"max_shift": 0.49, "global_batch": 400})
    augmentation = draw_augmentation(np.random.default_rng(0), config, 16, 0.0, 1.0)
    assert np.abs(augmentation.shifts).max() == 7
    out = np.empty((16, 16), np.uint8)
    for down, right in augmentation.shifts:
        shift_into(out, np.zeros((16, 16), np.uint8), down, right)
        assert not out.any()


def test_contrast_does_not_change_the_mean_and_brightness_is_in_units_of_the_deviation() -> None:
    augmentation = _draw(photometric=0.1)
    assert augmentation.gain.min() == pytest.approx(0.9, abs=1e-3)
    assert augmentation.gain.max() == pytest.approx(1.1, abs=1e-3)
    change_of_mean = 100 * augmentation.gain + augmentation.bias - 100  # of the mean grey level, 100
    assert np.abs(change_of_mean).max() == pytest.approx(0.1 * 20, abs=1e-2)
    assert abs(np.corrcoef(change_of_mean, augmentation.gain)[0, 1]) < 0.05


def test_rotations_and_zooms_cover_their_ranges_about_the_centre() -> None:
    transforms = _draw(max_rotation=45.0, max_zoom=0.15).warps
    a0, a1, a2, b0, b1, b2 = transforms[:, :6].T
    np.testing.assert_allclose(31.5 * (a0 + a1) + a2, 31.5, atol=1e-4)
    np.testing.assert_allclose(31.5 * (b0 + b1) + b2, 31.5, atol=1e-4)
    angle, zoom = np.degrees(np.arctan2(b0, a0)), 1 / np.hypot(a0, b0)
    assert (angle.min(), angle.max()) == pytest.approx((-45, 45), abs=0.1)
    assert (zoom.min(), zoom.max()) == pytest.approx((np.exp(-0.15), np.exp(0.15)), abs=1e-3)
    assert (_draw(max_rotation=0.0, max_zoom=0.0).warps == [1, 0, 0, 0, 1, 0, 0, 0]).all()


def test_a_warp_rotates_counter_clockwise_enlarges_and_reflects_at_the_border() -> None:
    from tinyunet.training.step import warp

    image = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 2)).astype(np.float32)
    rotated = warp(image, warps(np.array([np.pi / 2]), np.ones(1), 8)).numpy()
    np.testing.assert_allclose(rotated, np.rot90(image, axes=(1, 2)), atol=1e-3)
    enlarged = warp(image, warps(np.zeros(1), np.array([2.0]), 8)).numpy()
    np.testing.assert_allclose(enlarged[0, 3:5, 3:5].mean((0, 1)), image[0, 3:5, 3:5].mean((0, 1)), rtol=1e-4)
    reduced = warp(image, warps(np.zeros(1), np.array([0.5]), 8)).numpy()
    np.testing.assert_allclose(reduced[0, 2:6, 1], reduced[0, 2:6, 2], rtol=1e-4)  # reflection and border


def test_without_photometric_changes_grey_levels_are_unchanged() -> None:
    augmentation = _draw(photometric=0.0)
    assert (augmentation.gain == 1).all()
    assert (augmentation.bias == 0).all()
