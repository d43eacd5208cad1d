"""Interpolation of probabilities."""

import numpy as np
import pytest

from tinyunet.engine import resize
from tinyunet.engine.resize import interpolate


def whole(values: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.concatenate(list(interpolate(values, height, width)))


def test_a_map_of_the_same_size_is_not_changed() -> None:
    values = np.random.default_rng(0).random((6, 9), np.float32)
    np.testing.assert_array_equal(whole(values, 6, 9), values)


def test_values_between_two_centres_are_on_a_straight_line_and_constant_outside() -> None:
    found = whole(np.array([[0.0, 1.0]], np.float32), 1, 4)
    np.testing.assert_allclose(found, [[0, 0.25, 0.75, 1]], atol=1e-6)
    np.testing.assert_allclose(whole(np.array([[0.0], [1.0]], np.float32), 4, 1).T, found, atol=1e-6)


def test_a_map_is_reduced_to_fewer_pixels() -> None:
    np.testing.assert_allclose(whole(np.arange(4, dtype=np.float32)[None], 1, 2), [[0.5, 2.5]], atol=1e-6)


def test_the_result_does_not_depend_on_the_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random((8, 8), np.float32)
    expected = whole(values, 37, 21)
    monkeypatch.setattr(resize, "_STRIP", 50)
    strips = list(interpolate(values, 37, 21))
    assert [len(strip) for strip in strips] == [2] * 18 + [1]
    np.testing.assert_array_equal(np.concatenate(strips), expected)
