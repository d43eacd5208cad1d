import numpy as np
import pytest

from tinyunet.data.sampling import clean_slots, read_stream


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        (8, 0.5, [0, 1, 0, 1, 0, 1, 0, 1]),
        (8, 0.25, [0, 0, 0, 1, 0, 0, 0, 1]),
        (6, 2 / 3, [0, 1, 1, 0, 1, 1]),
        (8, 0.2, [0, 0, 0, 1, 0, 0, 0, 1]),  # 1.6 is rounded to 2
        (4, 0.0, [0, 0, 0, 0]),
        (4, 0.99, [0, 1, 1, 1]),
        (1, 0.5, [0]),
    ],
)
def test_clean_images_are_spread_evenly(count: int, fraction: float, expected: list[int]) -> None:
    assert clean_slots(count, fraction).tolist() == [bool(slot) for slot in expected]


def test_every_epoch_contains_every_image_once_in_a_new_order() -> None:
    pool = np.array([3, 5, 7, 9, 11])
    items = read_stream(pool, 0, 0, 0, 15)
    epochs = [items[:5], items[5:10], items[10:]]
    assert [sorted(epoch) for epoch in epochs] == [pool.tolist()] * 3
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert read_stream(pool, 0, 0, 4, 3) == items[4:7]
    assert read_stream(pool, 1, 0, 0, 15) != items
    assert read_stream(pool, 0, 1, 0, 15) != items
