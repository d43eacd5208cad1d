import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST
from tinyunet.data.augment import Draws, draw, pose, shift_into, warps
from tinyunet.data.dataset import Batch, Split, batches, load_split, statistics
from tinyunet.data.prefetch import prefetch
from tinyunet.data.resize import area_average
from tinyunet.data.sampling import clean_slots, order

PLAIN = FAST.replace({"steps": 4, "global_batch": 8, "max_shift": 0.0, "photometric": 0.0})


def _split(images: int = 12, defective: int = 5, size: int = 32) -> Split:
    """Random images; masks of defective ones are their own pixels, so that the two must stay alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size), dtype=np.uint8)
    flags = np.arange(images) < defective
    return Split(
        "train", pixels, pixels * flags[:, None, None], flags, tuple(f"{n:04d}" for n in range(images))
    )


def _run(
    split: Split, config: TrainConfig, *, start: int = 0, rank: int = 0, world_size: int = 1
) -> list[Batch]:
    return list(batches(split, config, start=start, rank=rank, world_size=world_size))


# Reading


def test_a_split_holds_what_was_ingested(raw: Path, records: Path) -> None:
    from PIL import Image

    split = load_split(records, "test", 64, verify=True)
    assert split.names == tuple(f"{n:04d}" for n in range(1, 17))
    assert split.images.shape == split.masks.shape == (16, 64, 64)
    assert split.images.dtype == split.masks.dtype == np.uint8
    for name, image, mask, defective in zip(
        split.names, split.images, split.masks, split.defective, strict=True
    ):
        np.testing.assert_array_equal(image, np.asarray(Image.open(raw / "Test" / f"{name}.PNG")))
        path = raw / "Test" / "Label" / f"{name}_label.PNG"
        assert defective == path.exists()
        np.testing.assert_array_equal(mask, np.asarray(Image.open(path)) if path.exists() else 0 * mask)


def test_tensorflow_is_called_from_the_calling_thread_alone(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The type dispatch of its Python functions can crash when two threads enter it at once."""
    import tensorflow as tf

    threads = set()
    dataset, iterate = tf.data.TFRecordDataset, tf.data.Dataset.as_numpy_iterator

    def opened(*args: object, **kwargs: object) -> object:
        threads.add(threading.current_thread())
        return dataset(*args, **kwargs)

    def iterated(self: object) -> object:
        threads.add(threading.current_thread())
        return iterate(self)

    monkeypatch.setattr(tf.data, "TFRecordDataset", opened)
    monkeypatch.setattr(tf.data.Dataset, "as_numpy_iterator", iterated)
    load_split(records, "train", 32)
    assert threads == {threading.current_thread()}


def test_train_and_validation_share_no_image(records: Path) -> None:
    names = [set(load_split(records, split, 32).names) for split in ("train", "validation", "test")]
    assert sum(map(len, names)) == len(set.union(*names)) == 40


def test_a_smaller_split_is_the_area_average_of_the_larger(records: Path) -> None:
    large, small = load_split(records, "train", 64), load_split(records, "train", 32)
    blocks = large.masks.astype(int).reshape(-1, 32, 2, 32, 2).sum((2, 4))
    np.testing.assert_array_equal(small.masks, (blocks + 2) // 4)
    assert set(np.unique(small.masks)) <= {0, 64, 128, 191, 255}  # a quarter, half, three quarters of 255
    assert len(np.unique(small.masks)) > 2


@pytest.fixture
def copy(records: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(records, tmp_path / "records"))


SHARD = "train-00001-of-00002.tfrecord"


@pytest.mark.parametrize(
    ("offset", "verify", "message"),
    [
        (2000, False, "is damaged"),
        (3, False, "is damaged"),
        (-2, False, "is damaged"),
        (2000, True, "has changed"),
    ],
    ids=["pixel", "length", "checksum", "pixel, verified"],
)
def test_a_flipped_byte_is_found_and_the_shard_named(
    copy: Path, offset: int, verify: bool, message: str
) -> None:
    data = bytearray((copy / SHARD).read_bytes())
    data[offset] ^= 1
    (copy / SHARD).write_bytes(data)
    with pytest.raises(UserError, match=f"{SHARD} {message}.*convert again"):
        load_split(copy, "train", 32, verify=verify)


def test_a_truncated_a_missing_and_a_foreign_shard_are_named(copy: Path) -> None:
    data = (copy / SHARD).read_bytes()
    (copy / SHARD).write_bytes(data[:-100])
    with pytest.raises(UserError, match=rf"{SHARD} has {len(data) - 100} bytes, not {len(data)}"):
        load_split(copy, "train", 32)
    (copy / SHARD).unlink()
    with pytest.raises(UserError, match=f"{SHARD} is missing"):
        load_split(copy, "train", 32)


def test_fewer_records_than_the_manifest_says_are_refused(copy: Path) -> None:
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"images": 11', '"images": 12'))
    with pytest.raises(UserError, match=f"{SHARD} holds 11 images, not 12"):
        load_split(copy, "train", 32)


@pytest.mark.parametrize(
    ("split", "size", "named"),
    [("train", 128, "image_size is 128"), ("train", 0, "image_size is 0"), ("all", 32, "'all'")],
)
def test_a_size_or_split_that_does_not_exist_is_refused(
    records: Path, split: str, size: int, named: str
) -> None:
    with pytest.raises(UserError, match=named):
        load_split(records, split, size)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder that `tinyunet convert` wrote"):
        load_split(tmp_path, "train", 32)


# Shrinking


def test_area_average_of_two_by_two_rounds_half_up() -> None:
    image = np.array([[1, 2, 0, 1], [3, 4, 0, 1], [255, 255, 0, 0], [255, 254, 0, 1]], np.uint8)
    # 10/4 = 2.5, 2/4 = 0.5, 1019/4 = 254.75, 1/4
    np.testing.assert_array_equal(area_average(image, 2), [[3, 1], [255, 0]])


def test_area_average_counts_covered_parts() -> None:
    image = np.array([[0, 90, 240]] * 3, np.uint8)
    # A pixel of the result is 1.5 wide: (0 + 90/2)/1.5 = 30, (90/2 + 240)/1.5 = 190.
    np.testing.assert_array_equal(area_average(image, 2), [[30, 190]] * 2)


@pytest.mark.parametrize(("source", "size"), [(12, 5), (20, 16), (30, 7), (9, 9)])
def test_area_average_is_the_mean_of_the_enlarged_image(source: int, size: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (source, source), dtype=np.uint8)
    enlarged = np.kron(image, np.ones((size, size)))  # every output pixel is now source × source whole pixels
    means = enlarged.reshape(size, source, size, source).mean((1, 3))
    np.testing.assert_array_equal(area_average(image, size), np.floor(means + 0.5 + 1e-9))


def test_area_average_keeps_a_constant_and_the_largest_official_sums() -> None:
    image = np.full((512, 512), 255, np.uint8)
    for size in (511, 500, 128, 1):
        assert (area_average(image, size) == 255).all()


def test_statistics_are_over_all_pixels() -> None:
    images = np.array([[[0, 10], [20, 30]], [[10, 20], [10, 20]]], np.uint8)
    split = Split("train", images, images, np.array([True, False]), ("a", "b"))
    mean, std = statistics(split)
    assert mean == pytest.approx(15)
    assert std == pytest.approx(np.sqrt((225 + 25 + 25 + 225 + 25 * 4) / 8))


# Augmentation


def _poses(kind: str) -> set[bytes]:
    marker = np.arange(9, dtype=np.uint8).reshape(3, 3)
    config = FAST.replace({"poses": kind, "global_batch": 400})
    drawn = draw(np.random.default_rng(0), config, 32, 0.0, 1.0)
    return {
        np.ascontiguousarray(pose(marker, flip=flip, turns=turns)).tobytes()
        for flip, turns in zip(drawn.flips, drawn.turns, strict=True)
    }


def test_dihedral_reaches_all_eight_poses() -> None:
    assert len(_poses("dihedral")) == 8


def test_published_reaches_six_poses_and_never_a_turn_by_270_degrees() -> None:
    marker = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert len(_poses("published")) == 6
    assert _poses("published") < _poses("dihedral")
    assert np.ascontiguousarray(np.rot90(marker, 3)).tobytes() not in _poses("published")


def test_a_pose_mirrors_first_and_turns_counter_clockwise() -> None:
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
def test_every_shift_equals_a_cut_from_the_padded_image(down: int, right: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, (16, 16), dtype=np.uint8)
    out = np.empty_like(image)
    shift_into(out, np.rot90(image), down, right)
    padded = np.pad(np.rot90(image), 7, mode="reflect")
    np.testing.assert_array_equal(out, padded[7 - down : 23 - down, 7 - right : 23 - right])


def _draws(**changes: object) -> Draws:
    config = FAST.replace({"global_batch": 4000, **changes})
    return draw(np.random.default_rng(3), config, 64, 100.0, 20.0)


def test_shifts_fill_their_range_and_no_more() -> None:
    drawn = _draws(max_shift=0.1875)
    assert sorted(set(drawn.shifts.ravel().tolist())) == list(range(-12, 13))


def test_the_largest_shift_still_fits_a_small_image() -> None:
    config = FAST.replace({"max_shift": 0.49, "global_batch": 400})
    drawn = draw(np.random.default_rng(0), config, 16, 0.0, 1.0)
    assert np.abs(drawn.shifts).max() == 7
    out = np.empty((16, 16), np.uint8)
    for down, right in drawn.shifts:
        shift_into(out, np.zeros((16, 16), np.uint8), down, right)
        assert not out.any()


def test_contrast_turns_about_the_mean_and_brightness_counts_in_deviations() -> None:
    drawn = _draws(photometric=0.1)
    assert drawn.gain.min() == pytest.approx(0.9, abs=1e-3)
    assert drawn.gain.max() == pytest.approx(1.1, abs=1e-3)
    at_mean = 100 * drawn.gain + drawn.bias - 100  # what the mean grey level moves by: brightness alone
    assert np.abs(at_mean).max() == pytest.approx(0.1 * 20, abs=1e-2)
    assert abs(np.corrcoef(at_mean, drawn.gain)[0, 1]) < 0.05


def test_rotations_and_zooms_fill_their_ranges_and_keep_the_centre() -> None:
    drawn = _draws(max_rotation=45.0, max_zoom=0.15).warps
    a0, a1, a2, b0, b1, b2 = drawn[:, :6].T
    np.testing.assert_allclose(31.5 * (a0 + a1) + a2, 31.5, atol=1e-4)
    np.testing.assert_allclose(31.5 * (b0 + b1) + b2, 31.5, atol=1e-4)
    angle, zoom = np.degrees(np.arctan2(b0, a0)), 1 / np.hypot(a0, b0)
    assert (angle.min(), angle.max()) == pytest.approx((-45, 45), abs=0.1)
    assert (zoom.min(), zoom.max()) == pytest.approx((np.exp(-0.15), np.exp(0.15)), abs=1e-3)
    assert (_draws(max_rotation=0.0, max_zoom=0.0).warps == [1, 0, 0, 0, 1, 0, 0, 0]).all()


def test_a_warp_turns_counter_clockwise_zooms_and_reflects_at_the_border() -> None:
    from tinyunet.training.step import warp

    image = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 2)).astype(np.float32)
    quarter = warp(image, warps(np.array([np.pi / 2]), np.ones(1), 8)).numpy()
    np.testing.assert_allclose(quarter, np.rot90(image, axes=(1, 2)), atol=1e-3)
    twice = warp(image, warps(np.zeros(1), np.array([2.0]), 8)).numpy()
    np.testing.assert_allclose(twice[0, 3:5, 3:5].mean((0, 1)), image[0, 3:5, 3:5].mean((0, 1)), rtol=1e-4)
    half = warp(image, warps(np.zeros(1), np.array([0.5]), 8)).numpy()
    np.testing.assert_allclose(half[0, 2:6, 1], half[0, 2:6, 2], rtol=1e-4)  # the border and its reflection


def test_without_photometric_changes_grey_levels_stay() -> None:
    drawn = _draws(photometric=0.0)
    assert (drawn.gain == 1).all()
    assert (drawn.bias == 0).all()


# Sampling


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        (8, 0.5, [0, 1, 0, 1, 0, 1, 0, 1]),
        (8, 0.25, [0, 0, 0, 1, 0, 0, 0, 1]),
        (6, 2 / 3, [0, 1, 1, 0, 1, 1]),
        (8, 0.2, [0, 0, 0, 1, 0, 0, 0, 1]),  # 1.6 of them
        (4, 0.0, [0, 0, 0, 0]),
        (4, 0.99, [0, 1, 1, 1]),
        (1, 0.5, [0]),
    ],
)
def test_clean_images_are_spread_evenly(count: int, fraction: float, expected: list[int]) -> None:
    assert clean_slots(count, fraction).tolist() == [bool(slot) for slot in expected]


def test_an_epoch_shows_every_image_once_in_a_new_order() -> None:
    pool = np.array([3, 5, 7, 9, 11])
    stream = order(pool, 0, 0, 0, 15)
    epochs = [stream[:5], stream[5:10], stream[10:]]
    assert [sorted(epoch) for epoch in epochs] == [pool.tolist()] * 3
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert order(pool, 0, 0, 4, 3) == stream[4:7]
    assert order(pool, 1, 0, 0, 15) != stream
    assert order(pool, 0, 1, 0, 15) != stream


# Batches


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_slices_of_the_ranks_make_up_the_batch_of_one_rank(world_size: int) -> None:
    split, config = _split(), FAST.replace({"steps": 3, "global_batch": 8})
    ranks = [_run(split, config, rank=rank, world_size=world_size) for rank in range(world_size)]
    for whole, parts in zip(_run(split, config), zip(*ranks, strict=True), strict=True):
        for field in ("images", "masks", "gain", "bias", "warps"):
            np.testing.assert_array_equal(
                getattr(whole, field), np.concatenate([getattr(part, field) for part in parts])
            )
        assert whole.names == tuple(name for part in parts for name in part.names)


def test_a_later_start_gives_the_later_batches() -> None:
    split = _split()
    config = FAST.replace({"steps": 5, "global_batch": 8})
    late, all_steps = _run(split, config, start=3), _run(split, config)
    assert len(late) == 2
    for a, b in zip(late, all_steps[3:], strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.bias, b.bias)
        assert a.names == b.names


def test_another_seed_gives_other_batches() -> None:
    first, second = (_run(_split(), FAST.replace({"steps": 1, "seed": seed}))[0] for seed in (0, 1))
    assert first.names != second.names
    assert (first.images != second.images).any()


def test_image_and_mask_move_together_and_clean_images_have_an_empty_mask() -> None:
    for batch in _run(_split(defective=5), FAST.replace({"steps": 4, "global_batch": 8})):
        for name, image, mask in zip(batch.names, batch.images, batch.masks, strict=True):
            np.testing.assert_array_equal(mask, image * (int(name) < 5))


def test_an_image_is_changed_by_pose_alone_when_nothing_else_is_asked() -> None:
    split = _split()
    for batch in _run(split, PLAIN):
        for name, image in zip(batch.names, batch.images, strict=True):
            source = split.images[int(name)]
            poses = [pose(source, flip=flip, turns=turns) for flip in (False, True) for turns in range(4)]
            assert sum(np.array_equal(image, other) for other in poses) == 1


def test_every_slice_mixes_defective_and_clean_images() -> None:
    split = _split(defective=5)
    for rank in range(4):
        for batch in _run(split, PLAIN, rank=rank, world_size=4):
            assert [int(name) < 5 for name in batch.names] == [True, False]


def test_a_clean_fraction_of_zero_shows_defective_images_only() -> None:
    split = _split(defective=4)
    shown = [name for batch in _run(split, PLAIN.replace({"clean_fraction": 0.0})) for name in batch.names]
    assert {name: shown.count(name) for name in set(shown)} == {f"{n:04d}": 8 for n in range(4)}


def test_batches_are_numpy_arrays_of_the_promised_types() -> None:
    (batch,) = _run(_split(), FAST.replace({"steps": 1, "global_batch": 8}), rank=1, world_size=2)
    assert batch.images.shape == batch.masks.shape == (4, 32, 32)
    assert batch.images.dtype == batch.masks.dtype == np.uint8
    assert batch.gain.shape == batch.bias.shape == (4,)
    assert batch.gain.dtype == batch.bias.dtype == np.float32
    assert len(batch.names) == 4


def test_the_source_images_are_never_written_to() -> None:
    split = _split()
    before = split.images.copy()
    _run(split, FAST.replace({"steps": 3}))
    np.testing.assert_array_equal(split.images, before)


@pytest.mark.parametrize(
    ("defective", "changes", "world_size", "message"),
    [
        (5, {"global_batch": 8}, 3, "global_batch is 8, not a multiple of 3 ranks"),
        (0, {}, 1, "holds no defective image"),
        (12, {}, 1, r"holds no defect-free image, but clean_fraction is 0\.5"),
    ],
)
def test_batches_that_cannot_be_made_are_refused_at_once(
    defective: int, changes: dict[str, object], world_size: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        batches(_split(defective=defective), FAST.replace(changes), start=0, rank=0, world_size=world_size)


def test_defective_images_alone_are_enough_without_clean_ones() -> None:
    config = PLAIN.replace({"clean_fraction": 0.0})
    assert len(_run(_split(defective=12), config)) == 4


# The thread


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def _wait_until_full(made: list[int]) -> None:
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)


def _counter(made: list[int]) -> Iterator[int]:
    def make(step: int) -> int:
        made.append(step)
        return step

    return prefetch(make, range(100))


def test_the_thread_ends_when_the_consumer_closes_and_makes_little_ahead() -> None:
    made: list[int] = []
    stream = _counter(made)
    assert _threads() == []
    assert next(stream) == 0
    _wait_until_full(made)
    assert made == [0, 1, 2, 3]  # one taken, two waiting, one in hand
    assert len(_threads()) == 1
    stream.close()  # type: ignore[attr-defined]
    assert _threads() == []


def test_the_thread_ends_with_the_last_item() -> None:
    assert list(_counter([])) == list(range(100))
    assert _threads() == []


def test_an_error_in_the_thread_reaches_the_consumer_after_the_good_items() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise UserError("step 2 is bad")
        return step

    stream = prefetch(make, range(5))
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(UserError, match="step 2 is bad"):
        next(stream)
    assert _threads() == []
