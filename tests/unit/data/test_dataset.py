import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.canonical import make_records, random_parts
from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST
from tinyunet.data.augment import pose
from tinyunet.data.dataset import Batch, Split, batches, load_split, statistics

POSES_ONLY = FAST.replace({"steps": 4, "global_batch": 8, "max_shift": 0.0, "photometric": 0.0})


def _make_split(images: int = 12, defective: int = 5, size: int = 32) -> Split:
    """Return random images; the mask of a defective image equals the image, so that both must stay equal."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size), dtype=np.uint8)
    flags = np.arange(images) < defective
    return Split(
        "train", pixels, pixels * flags[:, None, None], flags, tuple(f"{n:04d}" for n in range(images))
    )


def _list_batches(
    split: Split, config: TrainConfig, *, start: int = 0, rank: int = 0, world_size: int = 1
) -> list[Batch]:
    return list(batches(split, config, start=start, rank=rank, world_size=world_size))


# load_split


def test_a_split_contains_the_ingested_images_and_masks(raw: Path, records: Path) -> None:
    from PIL import Image

    split = load_split(records, "test", 64, verify=True)
    assert split.names == tuple(f"{n:04d}" for n in range(1, 17))
    assert split.images.shape == split.masks.shape == (16, 64, 64)
    assert split.images.dtype == split.masks.dtype == np.uint8
    for name, image, mask, defective in zip(
        split.names, split.images, split.masks, split.defective, strict=True
    ):
        np.testing.assert_array_equal(image, np.asarray(Image.open(raw / "images" / "test" / f"{name}.png")))
        path = raw / "masks" / "test" / f"{name}.png"
        assert defective == path.exists()
        np.testing.assert_array_equal(mask, np.asarray(Image.open(path)) if path.exists() else 0 * mask)


def test_train_validation_and_test_share_no_image(records: Path) -> None:
    names = [set(load_split(records, split, 32).names) for split in ("train", "validation", "test")]
    assert sum(map(len, names)) == len(set.union(*names)) == 40


def test_a_smaller_split_is_the_area_average_of_the_larger(records: Path) -> None:
    large, small = load_split(records, "train", 64), load_split(records, "train", 32)
    blocks = np.asarray(large.masks).astype(int).reshape(-1, 32, 2, 32, 2).sum((2, 4))
    np.testing.assert_array_equal(small.masks, (blocks + 2) // 4)
    assert set(np.unique(small.masks)) <= {0, 64, 128, 191, 255}  # a quarter, half, three quarters of 255
    assert len(np.unique(small.masks)) > 2


@pytest.fixture
def copied_records(records: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(records, tmp_path / "records"))


SHARD = "train-00001-of-00002.tfrecord"


@pytest.mark.parametrize("offset", [2000, 3, -2], ids=["pixel", "length", "checksum"])
def test_the_error_of_a_flipped_bit_names_the_shard(copied_records: Path, offset: int) -> None:
    data = bytearray((copied_records / SHARD).read_bytes())
    data[offset] ^= 1
    (copied_records / SHARD).write_bytes(data)
    with pytest.raises(UserError, match=f"{SHARD} has changed.*convert again"):
        load_split(copied_records, "train", 32, verify=True)


def test_the_error_of_a_truncated_or_missing_shard_names_it(copied_records: Path) -> None:
    data = (copied_records / SHARD).read_bytes()
    (copied_records / SHARD).write_bytes(data[:-100])
    with pytest.raises(UserError, match=rf"{SHARD} has {len(data) - 100} bytes, not {len(data)}"):
        load_split(copied_records, "train", 32)
    (copied_records / SHARD).unlink()
    with pytest.raises(UserError, match=f"{SHARD} is missing"):
        load_split(copied_records, "train", 32)


def test_fewer_records_than_in_the_manifest_are_an_error(copied_records: Path) -> None:
    manifest = copied_records / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"images": 11', '"images": 12'))
    with pytest.raises(UserError, match=f"{SHARD} holds 11 images, not 12"):
        load_split(copied_records, "train", 32)


@pytest.mark.parametrize(
    ("split", "size", "message"),
    [
        ("train", 128, "image_size is 128, but the records hold 64×64 pixels; choose 1 to 64"),
        ("train", -1, "image_size is -1"),
        ("all", 32, "'all'"),
    ],
)
def test_a_size_or_split_that_does_not_exist_is_an_error(
    records: Path, split: str, size: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_split(records, split, size)


def test_a_folder_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder that `tinyunet convert` wrote"):
        load_split(tmp_path, "train", 32)


def test_a_split_without_a_size_has_every_image_at_its_own(tmp_path: Path) -> None:
    parts = random_parts([(8, 12), (16, 4), (6, 6), (10, 10), (12, 8), (4, 16)])
    records, _ = make_records(tmp_path, parts)
    split, by_name = load_split(records, "train", 0), {part.name: part for part in parts}
    assert len(split) == len(split.images) == 4
    for name, image, mask, kind in zip(split.names, split.images, split.masks, split.types, strict=True):
        np.testing.assert_array_equal(image, by_name[name].image)
        assert mask.shape == image.shape
        assert kind == by_name[name].defect_type
    assert RecordsManifest.read(records).splits["train"].types == tuple(sorted(set(split.types) - {""}))
    assert split.known_statistics == statistics(replace(split, known_statistics=None))


@pytest.mark.parametrize(("channels", "dtype"), [((), np.uint16), ((3,), np.uint8)])
@pytest.mark.parametrize("size", [16, 8])
def test_batches_keep_colours_and_16_bits(
    tmp_path: Path, channels: tuple[int, ...], dtype: type, size: int
) -> None:
    records, _ = make_records(tmp_path, random_parts([(16, 16, *channels)] * 8, dtype=dtype))
    config = POSES_ONLY.replace({"global_batch": 4, "steps": 2})
    for batch in _list_batches(load_split(records, "train", size), config):
        assert (batch.images.shape, batch.images.dtype) == ((4, size, size, *channels), dtype)
        assert (batch.masks.shape, batch.masks.dtype) == ((4, size, size), np.uint8)


@pytest.mark.parametrize("size", [64, 32])
def test_batches_from_the_records_are_those_of_a_split_in_memory(records: Path, size: int) -> None:
    stored, config = load_split(records, "train", size), FAST.replace({"steps": 3, "global_batch": 8})
    in_memory = replace(
        stored, images=np.array(stored.images), masks=np.array(stored.masks), known_statistics=None
    )
    for a, b in zip(_list_batches(stored, config), _list_batches(in_memory, config), strict=True):
        for field in ("images", "masks", "gain", "bias", "warps"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


# statistics


def test_the_statistics_are_those_of_all_pixels() -> None:
    images = np.array([[[0, 10], [20, 30]], [[10, 20], [10, 20]]], np.uint8)
    split = Split("train", images, images, np.array([True, False]), ("a", "b"))
    mean, std = statistics(split)
    assert mean == pytest.approx(15)
    assert std == pytest.approx(np.sqrt((225 + 25 + 25 + 225 + 25 * 4) / 8))


# batches


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_the_slices_of_all_ranks_form_the_batch_of_a_single_rank(world_size: int) -> None:
    split, config = _make_split(), FAST.replace({"steps": 3, "global_batch": 8})
    ranks = [_list_batches(split, config, rank=rank, world_size=world_size) for rank in range(world_size)]
    for single, slices in zip(_list_batches(split, config), zip(*ranks, strict=True), strict=True):
        for field in ("images", "masks", "gain", "bias", "warps"):
            joined = np.concatenate([getattr(batch, field) for batch in slices])
            np.testing.assert_array_equal(getattr(single, field), joined)
        assert single.names == tuple(name for batch in slices for name in batch.names)


def test_a_later_start_yields_the_later_batches() -> None:
    split = _make_split()
    config = FAST.replace({"steps": 5, "global_batch": 8})
    later, all_batches = _list_batches(split, config, start=3), _list_batches(split, config)
    assert len(later) == 2
    for a, b in zip(later, all_batches[3:], strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.bias, b.bias)
        assert a.names == b.names


def test_another_seed_yields_other_batches() -> None:
    first, second = (
        _list_batches(_make_split(), FAST.replace({"steps": 1, "seed": seed}))[0] for seed in (0, 1)
    )
    assert first.names != second.names
    assert (first.images != second.images).any()


def test_image_and_mask_have_the_same_augmentation_and_clean_images_have_empty_masks() -> None:
    for batch in _list_batches(_make_split(defective=5), FAST.replace({"steps": 4, "global_batch": 8})):
        for name, image, mask in zip(batch.names, batch.images, batch.masks, strict=True):
            np.testing.assert_array_equal(mask, image * (int(name) < 5))


def test_without_other_augmentation_an_image_differs_only_by_its_pose() -> None:
    split = _make_split()
    for batch in _list_batches(split, POSES_ONLY):
        for name, image in zip(batch.names, batch.images, strict=True):
            source = split.images[int(name)]
            poses = [pose(source, flip=flip, turns=turns) for flip in (False, True) for turns in range(4)]
            assert sum(np.array_equal(image, posed) for posed in poses) == 1


def test_the_batch_of_every_rank_contains_defective_and_clean_images() -> None:
    split = _make_split(defective=5)
    for rank in range(4):
        for batch in _list_batches(split, POSES_ONLY, rank=rank, world_size=4):
            assert [int(name) < 5 for name in batch.names] == [True, False]


def test_a_clean_fraction_of_zero_selects_defective_images_only() -> None:
    split = _make_split(defective=4)
    config = POSES_ONLY.replace({"clean_fraction": 0.0})
    names = [name for batch in _list_batches(split, config) for name in batch.names]
    assert {name: names.count(name) for name in set(names)} == {f"{n:04d}": 8 for n in range(4)}


def test_batches_are_numpy_arrays_of_the_documented_types() -> None:
    (batch,) = _list_batches(
        _make_split(), FAST.replace({"steps": 1, "global_batch": 8}), rank=1, world_size=2
    )
    assert batch.images.shape == batch.masks.shape == (4, 32, 32)
    assert batch.images.dtype == batch.masks.dtype == np.uint8
    assert batch.gain.shape == batch.bias.shape == (4,)
    assert batch.gain.dtype == batch.bias.dtype == np.float32
    assert len(batch.names) == 4


def test_the_images_of_the_split_are_not_modified() -> None:
    split = _make_split()
    before = split.images.copy()
    _list_batches(split, FAST.replace({"steps": 3}))
    np.testing.assert_array_equal(split.images, before)


@pytest.mark.parametrize(
    ("defective", "changes", "world_size", "message"),
    [
        (5, {"global_batch": 8}, 3, "global_batch is 8; expected a multiple of the number of ranks, 3"),
        (0, {}, 1, "holds no defective image"),
    ],
)
def test_batches_that_cannot_be_made_are_an_error_before_the_first_one(
    defective: int, changes: dict[str, object], world_size: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        batches(
            _make_split(defective=defective), FAST.replace(changes), start=0, rank=0, world_size=world_size
        )


def test_without_clean_images_the_clean_fraction_is_zero() -> None:
    split = _make_split(defective=12)
    without = [batch.names for batch in _list_batches(split, POSES_ONLY.replace({"clean_fraction": 0.0}))]
    assert [batch.names for batch in _list_batches(split, POSES_ONLY)] == without
