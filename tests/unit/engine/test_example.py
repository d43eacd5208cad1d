"""The texture of the self-check."""

import numpy as np

from tinyunet.engine.example import texture


def test_a_texture_never_changes() -> None:
    assert texture(2, 3, 1, 8, 0)[..., 0].tolist() == [[110, 128, 160], [171, 166, 180]]
    assert texture(1, 2, 1, 16, 5)[..., 0].dtype == np.uint16


def test_a_texture_has_the_asked_shape_and_levels_around_the_middle() -> None:
    for bits in (8, 16):
        image = texture(37, 41, 3, bits, 1)
        top = 2**bits - 1
        assert image.shape == (37, 41, 3)
        assert image.min() >= top // 4
        assert image.max() <= top // 4 + top // 2
        assert abs(image.mean() / top - 0.5) < 0.01
    assert (texture(8, 8, 1, 8, 1) != texture(8, 8, 1, 8, 2)).any()
