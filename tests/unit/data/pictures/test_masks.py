"""Masks of every kind: what their values mean is decided once, and then every mask is read by it."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.mask_kinds import MaskKind, decide
from tinyunet.data.pictures.mask_values import mask_values, merged
from tinyunet.data.pictures.masks import read_mask
from tinyunet.data.pictures.opening import turn

SHAPE = (32, 40)
CLEAN = np.zeros(SHAPE, np.uint8)
LABEL = CLEAN.copy()  # areas of the types 1 and 2
LABEL[4:12, 5:15] = 1
LABEL[16:28, 20:36] = 2
ONE = (LABEL == 1).astype(np.uint8)
VALUES = np.array([0, 100, 200], np.uint8)
VIRIDIS = np.array([[68, 1, 84], [253, 231, 36]], np.uint8)
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)


def save(pixels: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(data, kind, **options)
    return data.getvalue()


def palette(indices: NDArray[np.uint8], *colours: int) -> bytes:
    picture = Image.fromarray(indices)
    picture.putpalette([channel for colour in colours for channel in colour.to_bytes(3, "big")])
    return save(picture)


def soft(mask: NDArray[np.uint8], width: int = 161) -> NDArray[np.uint8]:
    """Return 0/255 with soft borders, as a smaller copy of a larger mask has them."""
    large = Image.fromarray(mask * np.uint8(255)).resize((width, width * 4 // 5), Image.Resampling.NEAREST)
    return np.asarray(large.resize((mask.shape[1], mask.shape[0]), Image.Resampling.BILINEAR))


def kind_of(*files: bytes) -> MaskKind:
    return decide(mask_values(data) for data in files)


def types_of(data: bytes, kind: MaskKind) -> NDArray[np.uint8]:
    types = read_mask(data, kind, SHAPE)
    assert types.dtype == np.uint8
    return types


BINARY = [
    (ONE, "two values: grey level 1 is defective, 0 is not"),
    (ONE * np.uint8(255), "two values: grey level 255 is defective, 0 is not"),
    (ONE * np.uint8(2), "two values: grey level 2 is defective, 0 is not"),
    (ONE * np.uint8(60) + np.uint8(90), "two values: grey level 150 is defective, 90 is not"),
    (ONE > 0, "two values: grey level 255 is defective, 0 is not"),
    (ONE * np.uint16(65535), "two values: grey level 65535 is defective, 0 is not"),
    (ONE * np.uint16(1), "two values: grey level 1 is defective, 0 is not"),
    (np.dstack([ONE * np.uint8(255)] * 3), "two values: grey level 255 is defective, 0 is not"),
    (COLOURS[ONE], "two values: colour #ff0000 is defective, #000000 is not"),
    (np.dstack([ONE, CLEAN, CLEAN]), "two values: colour #010000 is defective, #000000 is not"),
    (VIRIDIS[ONE], "two values: colour #fde724 is defective, #440154 is not"),
    (np.dstack([CLEAN + 255, ONE * np.uint8(255)]), "two values: grey level 255 is defective, 0 is not"),
    (np.dstack([CLEAN] * 3 + [ONE * np.uint8(255)]), "two values: grey level 255 is defective, 0 is not"),
]  # fmt: skip


@pytest.mark.parametrize(("mask", "words"), BINARY)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_two_values_are_clean_and_defective(mask: NDArray[Any], words: str, file_format: str) -> None:
    data = save(mask, file_format)
    kind = kind_of(data, data)
    assert str(kind) == words
    np.testing.assert_array_equal(types_of(data, kind), ONE)


@pytest.mark.parametrize("file_format", ["BMP", "WEBP"])
def test_other_lossless_formats_are_read_too(file_format: str) -> None:
    data = save(ONE * np.uint8(255), file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    np.testing.assert_array_equal(types_of(data, kind_of(data)), ONE)


def test_masks_of_0_1_and_of_0_255_in_one_data_set_are_both_read() -> None:
    files = [save(ONE), save(ONE * np.uint8(255)), save(CLEAN)]
    kind = kind_of(*files)
    assert str(kind) == "two values: grey level 1 and 255 are defective, 0 is not"
    for data in files[:2]:
        np.testing.assert_array_equal(types_of(data, kind), ONE)
    assert not types_of(files[2], kind).any()


def test_alpha_is_the_mask_only_where_it_says_more_than_the_colour() -> None:
    drawn = [np.dstack([CLEAN + 255, ONE * np.uint8(255)]), np.dstack([CLEAN + 255, CLEAN])]
    opaque = [np.dstack([COLOURS[label], CLEAN + 255]) for label in (ONE, CLEAN)]
    for files in ([save(mask) for mask in drawn], [save(mask) for mask in opaque]):
        kind = kind_of(*files)
        np.testing.assert_array_equal(types_of(files[0], kind), ONE)
        assert not types_of(files[1], kind).any()


def test_masks_without_any_defect_are_clean() -> None:
    kind = kind_of(save(CLEAN), save(CLEAN))
    assert str(kind) == "only the grey level 0: no defect"
    assert not types_of(save(CLEAN), kind).any()
    assert str(decide([])) == "only the grey level 0: no defect"


def test_a_background_of_255_is_found_if_clean_masks_are_all_255() -> None:
    inverted = 255 - ONE * np.uint8(255)
    kind = kind_of(save(inverted), save(CLEAN + 255))
    assert str(kind) == "two values: grey level 0 is defective, 255 is not"
    np.testing.assert_array_equal(types_of(save(inverted), kind), ONE)


def test_masks_that_look_inverted_are_told() -> None:
    inverted = 255 - ONE * np.uint8(255)
    kind = kind_of(save(inverted))
    assert str(kind).endswith("; 94% of all pixels are then defective: are the masks inverted?")
    np.testing.assert_array_equal(types_of(save(inverted), kind), 1 - ONE)


@pytest.mark.parametrize("mask", [soft(ONE), soft(ONE, 81), np.dstack([soft(ONE)] * 3)])
def test_half_of_a_soft_border_is_the_edge(mask: NDArray[np.uint8]) -> None:
    levels = len(np.unique(mask))
    assert levels > 3
    kind = kind_of(save(mask), save(CLEAN))
    assert str(kind) == f"grey with soft borders: {levels} levels, those from 128 on are defective"
    grey = mask if mask.ndim == 2 else mask[..., 0]
    np.testing.assert_array_equal(types_of(save(mask), kind), grey >= 128)


def test_a_border_of_one_level_is_soft_and_an_area_of_it_is_a_type() -> None:
    border = ONE * np.uint8(255)
    border[4, 5:15] = border[4:12, 5] = 127
    kind = kind_of(save(border))
    assert str(kind) == "grey with soft borders: 3 levels, those from 128 on are defective"
    np.testing.assert_array_equal(types_of(save(border), kind), border == 255)

    areas = np.array([0, 127, 255], np.uint8)[LABEL]
    kind = kind_of(save(areas))
    assert str(kind) == "grey levels are 2 defect types: 127, 255; 0 is the background"
    np.testing.assert_array_equal(types_of(save(areas), kind), areas)


def test_16_bit_soft_borders_have_their_edge_at_half_of_16_bits() -> None:
    mask = soft(ONE).astype(np.uint16) * 257
    kind = kind_of(save(mask))
    assert kind.threshold == 32768
    np.testing.assert_array_equal(types_of(save(mask), kind), mask >= 32768)


def test_inverted_soft_borders_are_read_by_their_background() -> None:
    mask = 255 - soft(ONE)
    mask[mask == 0] = 1
    kind = kind_of(save(mask), save(CLEAN + 255))
    assert "those below 128 are defective" in str(kind)
    np.testing.assert_array_equal(types_of(save(mask), kind), mask < 128)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_is_soft(channels: int) -> None:
    mask = ONE * np.uint8(255)
    data = save(mask if channels == 1 else np.dstack([mask] * 3), "JPEG", quality=60)
    kind = kind_of(data)
    assert str(kind).startswith("grey with soft borders: ")
    np.testing.assert_array_equal(types_of(data, kind), ONE)


def test_levels_near_0_and_255_are_soft_even_if_they_are_few() -> None:
    mask = ONE * np.uint8(255)
    mask[0, ::5], mask[5, 6:14:2] = 1, 254
    kind = kind_of(save(mask))
    np.testing.assert_array_equal(types_of(save(mask), kind), ONE)
    mask[mask == 254] = 255  # a few pixels of 1 beside areas of 255 are no type, and 255 is not void
    np.testing.assert_array_equal(types_of(save(mask), kind_of(save(mask))), ONE)


def test_small_integers_are_types_even_if_a_mask_holds_one_of_them() -> None:
    files = [save(ONE), save(LABEL), save(np.where(LABEL == 2, 3, 0).astype(np.uint8))]
    kind = kind_of(*files)
    assert str(kind) == "grey levels are 3 defect types: 1, 2, 3; 0 is the background"
    assert kind.names == {1: "1", 2: "2", 3: "3"}
    np.testing.assert_array_equal(types_of(files[1], kind), LABEL)
    np.testing.assert_array_equal(types_of(files[2], kind), np.where(LABEL == 2, 3, 0))


def test_lines_of_one_pixel_are_types_if_they_are_small_integers() -> None:
    mask = CLEAN.copy()
    mask[3, 4:20], mask[4:30, 30] = 1, 2
    np.testing.assert_array_equal(types_of(save(mask), kind_of(save(mask))), mask)


@pytest.mark.parametrize("with_palette", [False, True])
def test_255_beside_small_integers_is_void(with_palette: bool) -> None:
    mask = LABEL.copy()
    mask[16, 20:36] = 255
    colours = [0, 0x800000, 0x008000, *[0] * 252, 0xE0E0C0]
    data = palette(mask, *colours) if with_palette else save(mask)
    kind = kind_of(data)
    name = "palette indices" if with_palette else "grey levels"
    expected = "are 2 defect types: 1, 2; 0 is the background, and 255 is void: read as not defective"
    assert str(kind) == f"{name} {expected}"
    np.testing.assert_array_equal(types_of(data, kind), np.where(mask == 255, 0, mask))


def test_arbitrary_levels_that_cover_areas_are_types() -> None:
    data = save(VALUES[LABEL])
    kind = kind_of(data, save(CLEAN))
    assert str(kind) == "grey levels are 2 defect types: 100, 200; 0 is the background"
    np.testing.assert_array_equal(types_of(data, kind), VALUES[LABEL])


def test_types_of_16_bits_are_numbered() -> None:
    data = save(LABEL.astype(np.uint16) * 1000)
    kind = kind_of(data)
    assert kind.names == {1: "1000", 2: "2000"}
    np.testing.assert_array_equal(types_of(data, kind), LABEL)


def test_the_index_of_a_palette_is_the_type() -> None:
    data = palette(LABEL, 0, 0xFF0000, 0x00FF00)
    kind = kind_of(data, palette(ONE, 0, 0xFF0000, 0x00FF00), save(CLEAN))
    assert str(kind) == "palette indices are 2 defect types: 1, 2; 0 is the background"
    np.testing.assert_array_equal(types_of(data, kind), LABEL)


def test_the_black_index_of_a_palette_is_the_background() -> None:
    data = palette(1 - ONE, 0xFFFFFF, 0)
    kind = kind_of(data)
    assert str(kind) == "two values: palette index 0 is defective, 1 is not"
    np.testing.assert_array_equal(types_of(data, kind), ONE)


def test_palettes_that_differ_are_read_as_colours() -> None:
    first, second = palette(LABEL, 0, 0xFF0000, 0x0000FF), palette(2 - LABEL, 0x0000FF, 0xFF0000, 0)
    kind = kind_of(first, second, save(CLEAN))
    assert str(kind) == "colours are 2 defect types: #0000ff, #ff0000; #000000 is the background"
    for data in (first, second):
        np.testing.assert_array_equal(types_of(data, kind), np.array([0, 2, 1])[LABEL])


def test_grey_palettes_that_differ_are_read_as_levels() -> None:
    files = [palette(ONE, 0, 0xFFFFFF), palette(1 - ONE, 0xFFFFFF, 0), save(ONE * np.uint8(255))]
    kind = kind_of(*files)
    assert str(kind) == "two values: grey level 255 is defective, 0 is not"
    for data in files:
        np.testing.assert_array_equal(types_of(data, kind), ONE)


def test_every_colour_is_a_type_and_black_the_background() -> None:
    data = save(COLOURS[LABEL])
    kind = kind_of(data, save(CLEAN), palette(ONE, 0, 0xFF0000))
    assert str(kind) == "colours are 2 defect types: #0000ff, #ff0000; #000000 is the background"
    assert kind.names == {1: "#0000ff", 2: "#ff0000"}
    np.testing.assert_array_equal(types_of(data, kind), np.array([0, 2, 1])[LABEL])


def test_the_most_frequent_colour_of_all_masks_is_the_background_without_black() -> None:
    white = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255]], np.uint8)
    kind = kind_of(save(white[LABEL]), save(white[ONE]))
    assert str(kind).endswith("; #ffffff is the background")
    black_defect = np.array([[255, 255, 255], [0, 0, 0], [0, 0, 255]], np.uint8)
    kind = kind_of(save(black_defect[LABEL]), save(black_defect[CLEAN]))
    assert str(kind).endswith("; #ffffff is the background")


def test_values_of_several_masks_are_merged_in_any_order() -> None:
    values = [mask_values(save(mask)) for mask in (ONE, LABEL, CLEAN)]
    both = merged([merged(values[:2]), values[2]])
    assert both == merged(reversed(values))
    assert (both.files, both.levels[0].files, both.levels[2].files) == (3, 3, 1)
    assert both.levels[1].pixels == 160
    assert both.levels[1].blocks == 2 * 7 * 9


NOISE = np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), np.uint8)


@pytest.mark.parametrize(
    ("mask", "file_format", "message"),
    [
        (NOISE, "PNG", "holds 1280 colours, expected one per defect type, 256 at .*; is it a mask"),
        (COLOURS[LABEL], "JPEG", "is a JPEG with colours, which compression has changed; save masks as PNG"),
        (ONE.astype(np.float32), "TIFF", "is floating point"),
        ((NOISE[..., 0] // 3) * ONE, "PNG", "the masks hold .* grey levels from 0 to 84; expected 0 to 255"),
        (ONE * np.uint8(20), "JPEG", "the masks hold .* grey levels from 0 to .*; expected 0 to 255 for"),
        (np.arange(100, dtype=np.uint8).repeat(32).reshape(-1, 32), "PNG", "hold 100 grey levels from 0 to"),
    ],
)  # fmt: skip
def test_masks_that_cannot_be_interpreted_are_an_error(
    mask: NDArray[Any], file_format: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        kind_of(save(mask, file_format, **({"quality": 30} if file_format == "JPEG" else {})))
    assert "\n" not in str(error.value)


PHOTOGRAPH = np.random.default_rng(2).normal(120, 30, SHAPE).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "data", [save(PHOTOGRAPH), save(PHOTOGRAPH, "JPEG"), save(PHOTOGRAPH.astype(np.uint16) * 257)]
)
def test_photographs_are_no_masks(data: bytes) -> None:
    with pytest.raises(UserError, match="mostly grey levels between black and white; expected"):
        kind_of(data, data)


def test_areas_of_several_levels_beside_thin_lines_are_an_error() -> None:
    mask = VALUES[LABEL]
    mask[30, 3:20] = 150
    with pytest.raises(
        UserError, match="areas of the grey levels 100, 200 and thin lines of 150, which can be"
    ):
        kind_of(save(mask))


def test_too_many_types_are_an_error() -> None:
    colours = np.arange(80, dtype=np.uint8).repeat(16).reshape(SHAPE)
    with pytest.raises(UserError, match="hold 80 different colour values; expected one per defect type, 64"):
        kind_of(save(np.dstack([colours, CLEAN, CLEAN])))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (save(LABEL), "holds the grey level 2, expected 0, 1"),
        (save(ONE[:-2]), "is 40×30, but its image is 40×32"),
        (save(ONE.T), "is 32×40, but its image is 40×32"),
        (save(ONE)[:60], "is truncated or damaged"),
        (b"", "is empty"),
    ],
)
def test_a_mask_that_does_not_fit_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_mask(data, kind_of(save(ONE)), SHAPE)


def test_an_unknown_colour_is_named() -> None:
    with pytest.raises(UserError, match="holds the colour #0000ff, expected #000000, #ff0000"):
        read_mask(save(COLOURS[LABEL]), kind_of(save(COLOURS[ONE])), SHAPE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_mask_of_the_stored_raster_is_turned_with_its_image(orientation: int, file_format: str) -> None:
    upright = turn(ONE, orientation)
    kind = kind_of(save(ONE))
    stored = save(ONE, file_format)
    np.testing.assert_array_equal(read_mask(stored, kind, upright.shape, orientation), upright)
    if orientation >= 5:  # only the upright size fits
        drawn = save(upright, file_format)
        np.testing.assert_array_equal(read_mask(drawn, kind, upright.shape, orientation), upright)


@pytest.mark.parametrize("own", [1, 3, 6])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_mask_with_an_orientation_of_its_own_is_turned_by_that(own: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[274] = own
    data = save(ONE, file_format, exif=exif)
    expected = turn(ONE, own)
    np.testing.assert_array_equal(read_mask(data, kind_of(data), expected.shape, 3), expected)


def test_a_mask_can_be_a_gif() -> None:
    data = save(ONE * np.uint8(255), "GIF")
    assert np.array_equal(read_mask(data, kind_of(data), SHAPE), ONE)


def test_a_jpeg_with_colours_among_grey_masks_is_named() -> None:
    kind = kind_of(save(CLEAN))
    with pytest.raises(UserError, match="is a JPEG with colours"):
        read_mask(save(COLOURS[LABEL], "JPEG"), kind, SHAPE)
