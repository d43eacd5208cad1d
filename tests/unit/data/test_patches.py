"""Patches: what a batch holds, and on what it depends."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.data.native import native_split
from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Batch, Split
from tinyunet.data.patches import ANYWHERE, AROUND_DEFECT, IN_CLEAN, crop, patch_batches, patch_kinds

CONFIG = TrainConfig(patch=32, global_batch=16, steps=3)
SHAPES = ((70, 90), (33, 40), (20, 200), (5, 9), (64, 64), (48, 100))


def make_split(*, clean: bool = True, colour: bool = False, dtype: type = np.uint8) -> Split:
    """Images whose pixels at a defect of 3×2 pixels are 255, and at most 100 elsewhere."""
    rng = np.random.default_rng(0)
    images: list[NDArray] = [
        rng.integers(0, 100, (*shape, 3) if colour else shape).astype(dtype) for shape in SHAPES
    ]
    masks = [np.zeros(shape, np.uint8) for shape in SHAPES]
    for index in range(3 if clean else 6):
        row, column = (int(rng.integers(side - 3)) for side in SHAPES[index])
        masks[index][row : row + 3, column : column + 2] = 255
        images[index][masks[index] > 0] = 255
    return native_split(images, masks)


def make_batches(split: Split, config: TrainConfig = CONFIG, *, rank: int = 0, ranks: int = 1) -> list[Batch]:
    return list(patch_batches(split, config, start=0, rank=rank, world_size=ranks))


def test_half_of_a_batch_is_around_a_defect_and_a_quarter_each_is_anywhere_and_in_clean_images() -> None:
    split = make_split()
    kinds = patch_kinds(CONFIG, any_clean=True)
    assert np.bincount(kinds).tolist() == [8, 4, 4]
    assert [np.bincount(half).tolist() for half in np.split(kinds, 2)] == [[4, 2, 2], [4, 2, 2]]
    for batch in make_batches(split):
        assert batch.images.shape == batch.masks.shape == (16, 32, 32)
        assert (batch.masks[kinds == AROUND_DEFECT] == 255).any((1, 2)).all()
        assert not batch.masks[kinds == IN_CLEAN].any()
        clean = {name for name, defective in zip(split.names, split.defective, strict=True) if not defective}
        assert {batch.names[i] in clean for i in np.flatnonzero(kinds == IN_CLEAN)} == {True}
        assert {batch.names[i] in clean for i in np.flatnonzero(kinds != IN_CLEAN)} == {False}


def test_a_mask_has_the_position_and_the_pose_of_its_patch() -> None:
    for batch in make_batches(make_split()):
        assert ((batch.images == 255) == (batch.masks == 255)).all()


def test_a_defect_is_anywhere_in_its_patches() -> None:
    """A network must not learn that defects are in the middle."""
    config = CONFIG.replace({"steps": 60, "defect_patches": 1.0, "poses": "published"})
    rows = [np.argwhere(mask)[0, 0] for batch in make_batches(make_split(), config) for mask in batch.masks]
    assert np.histogram(rows, 4, (0, 32))[0].min() > len(rows) / 10


def test_the_batches_depend_on_seed_and_step_only() -> None:
    first, again = make_batches(make_split()), make_batches(make_split())
    resumed = list(patch_batches(make_split(), CONFIG, start=2, rank=0, world_size=1))
    other = make_batches(make_split(), CONFIG.replace({"seed": 1}))
    assert all((a.images == b.images).all() for a, b in zip(first, again, strict=True))
    assert (resumed[0].images == first[2].images).all()
    assert (other[0].images != first[0].images).any()
    assert (first[0].images != first[1].images).any()


def test_ranks_receive_slices_of_the_same_global_batch() -> None:
    whole = make_batches(make_split())[0]
    parts = [make_batches(make_split(), rank=rank, ranks=4)[0] for rank in range(4)]
    for name in ("images", "masks", "gain", "bias", "warps"):
        assert (np.concatenate([getattr(part, name) for part in parts]) == getattr(whole, name)).all()


def test_without_clean_images_their_patches_are_anywhere_in_defective_ones() -> None:
    kinds = patch_kinds(CONFIG, any_clean=False)
    assert np.bincount(kinds, minlength=3).tolist() == [8, 8, 0]
    assert len(make_batches(make_split(clean=False))) == 3
    assert (
        patch_kinds(CONFIG.replace({"defect_patches": 0.0, "clean_fraction": 0.0}), any_clean=True)
        == ANYWHERE
    ).all()


@pytest.mark.parametrize(("colour", "dtype"), [(True, np.uint8), (False, np.uint16)])
def test_colours_and_16_bits_are_kept(colour: bool, dtype: type) -> None:
    batch = make_batches(make_split(colour=colour, dtype=dtype))[0]
    assert batch.images.shape == ((16, 32, 32, 3) if colour else (16, 32, 32))
    assert batch.images.dtype == dtype


def test_an_image_smaller_than_a_patch_is_continued_by_reflection() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert crop(image, 0, 0, 4).tolist() == [[0, 1, 2, 1], [3, 4, 5, 4], [0, 1, 2, 1], [3, 4, 5, 4]]
    assert crop(np.full((1, 1), 7, np.uint8), 0, 0, 5).tolist() == [[7] * 5] * 5
    assert crop(np.arange(25).reshape(5, 5), 2, 1, 2).tolist() == [[11, 12], [16, 17]]


def test_a_split_without_a_defect_and_a_wrong_number_of_ranks_are_refused() -> None:
    clean = native_split([np.zeros((40, 40), np.uint8)], [np.zeros((40, 40), np.uint8)])
    with pytest.raises(UserError, match="holds no defective image"):
        make_batches(clean)
    with pytest.raises(UserError, match="global_batch is 16; expected a multiple of the number of ranks, 3"):
        make_batches(make_split(), ranks=3)


def test_the_borders_of_an_image_are_in_as_many_patches_as_in_predictions_of_whole_images() -> None:
    """Column 99 is the last of the images; the prediction continues them to 112 columns."""
    columns = np.tile(np.arange(100, dtype=np.uint8), (100, 1))
    masks = [np.zeros((100, 100), np.uint8) for _ in range(4)]
    masks[0][50:52, 50:52] = 255
    split = native_split([columns] * 4, masks)
    config = CONFIG.replace({"steps": 60, "poses": "published", "defect_patches": 0.0})
    patches = [patch for batch in make_batches(split, config) for patch in batch.images]
    shares = [np.mean([(patch == border).any() for patch in patches]) for border in (0, 99)]
    assert min(shares) > 0.1
    mirrored = {int((patch == 98).sum()) for patch in patches if (patch == 99).any()}
    assert 2 * 32 in mirrored  # before and after the mirror
