"""Records at a scale: area averages, masks whose edge is at half, and the refusal of resized images."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.canonical import Part, make_records, random_parts
from tinyunet.core.config import DataConfig
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.data.records.levels import count_levels, mean_and_deviation
from tinyunet.data.resize import input_shape
from tinyunet.data.scale import at_scale

HALF = DataConfig(shards=1, scale=0.5)


def parts(shape: tuple[int, ...] = (40, 64), dtype: type = np.uint8) -> list[Part]:
    """Return 8 samples of Train and 2 of Test."""
    return random_parts([shape] * 8, dtype=dtype) + random_parts(
        [shape] * 2, dtype=dtype, split="test", first=8
    )


@pytest.mark.parametrize(("shape", "dtype"), [((40, 64, 3), np.uint8), ((40, 64), np.uint16)])
def test_a_half_is_the_mean_of_blocks_and_a_mask_of_half_a_block_is_defective(
    tmp_path: Path, shape: tuple[int, ...], dtype: type
) -> None:
    given = parts(shape, dtype)
    records, manifest = make_records(tmp_path, given, HALF)
    assert (manifest.scale, manifest.image_shape, manifest.uniform) == (0.5, (20, 32), True)
    test = load_split(records, "test", 0)
    for part, image, mask in zip(given[8:], test.images, test.masks, strict=True):
        blocks = part.image.astype(np.int64).reshape(20, 2, 32, 2, -1).sum(axis=(1, 3))
        np.testing.assert_array_equal(image, ((blocks + 2) // 4).reshape(image.shape))
        label = np.zeros((40, 64), np.uint8) if part.mask is None else part.mask
        above = (label > 0).reshape(20, 2, 32, 2).sum(axis=(1, 3)) >= 2
        np.testing.assert_array_equal(mask, np.where(above, 255, 0))


def test_a_line_of_one_pixel_stays_in_the_label_and_is_said_to_be_faint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = parts()
    line, image = np.zeros((40, 64), np.uint8), given[0].image
    line[21] = 255
    given += [Part("line", "test", image, line)]
    records, manifest = make_records(tmp_path, given, DataConfig(shards=1, scale=0.4))
    masks = load_split(records, "test", 0).masks
    assert (np.flatnonzero(masks[-1].any(axis=1)).tolist(), masks[-1][8].min()) == ([8], 255)
    assert len(manifest.notes) == 1
    assert manifest.notes[0].startswith("scale is 0.4: in 1 of 6 images with a defect (first: test line) it")
    assert manifest.notes[0] in capsys.readouterr().err


def test_a_spot_in_a_large_image_stays_in_the_label_at_the_smallest_side() -> None:
    spot = np.zeros((800, 800), np.uint8)
    spot[433, 120] = 255
    _, mask, faint = at_scale(spot, spot, 0.001)
    assert (np.argwhere(mask).tolist(), faint) == ([[8, 2]], True)


def test_a_mask_without_a_defect_stays_empty() -> None:
    empty = np.zeros((40, 40), np.uint8)
    _, mask, faint = at_scale(empty, empty, 0.4)
    assert not mask.any()
    assert not faint


def test_the_statistics_are_those_of_the_reduced_images(tmp_path: Path) -> None:
    records, manifest = make_records(tmp_path, parts(), HALF)
    counts = sum(count_levels(image) for image in load_split(records, "train", 0).images)
    assert manifest.statistics is not None
    found = (manifest.statistics.mean, manifest.statistics.deviation)
    assert found == pytest.approx(mean_and_deviation(counts))


def test_a_manifest_that_does_not_know_the_scale_has_the_scale_one(tmp_path: Path) -> None:
    records, manifest = make_records(tmp_path, parts(), DataConfig(shards=1, scale=1))
    assert (manifest.scale, manifest.image_shape) == (1.0, (40, 64))
    values = json.loads((records / "manifest.json").read_text())
    del values["scale"]
    (records / "manifest.json").write_text(json.dumps(values))
    assert RecordsManifest.read(records) == manifest


def test_whole_images_of_a_size_are_refused(tmp_path: Path) -> None:
    records, _ = make_records(tmp_path, parts(), HALF)
    with pytest.raises(UserError, match=r"image_size is 16, but the records hold images at scale 0\.5"):
        load_split(records, "test", 16)


@pytest.mark.parametrize(
    ("side", "scale", "expected"), [(64, 0.5, 32), (65, 0.5, 33), (40, 0.25, 16), (9, 0.5, 9), (9, 1.0, 9)]
)
def test_sides_are_rounded_and_keep_16_pixels_if_they_have_so_many(
    side: int, scale: float, expected: int
) -> None:
    assert input_shape((side, 100, 3), scale)[0] == expected
