"""The values of a mask file: grey levels, indices of a palette, or colours; and which of them occur."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.decode import decode, palette_colours
from tinyunet.data.pictures.opening import opened, stored_orientation, to_array, turn

Reading = Literal["level", "index", "colour"]
LARGEST_INDEX = 31  # values up to it can be indices of defect types; 255 beside them means void
VOID = 255
MAX_COLOURS = 256
_NEARLY_GREY = 32  # largest difference of two channels in a grey image after JPEG compression
_GREY_CODE = 0x010101  # grey level × this is the code of its colour


@dataclass(frozen=True)
class Count:
    """How often a value occurs in masks.

    Attributes:
        files: Number of masks with the value.
        pixels: Number of pixels with the value.
        blocks: Number of squares of 2×2 pixels, overlapping, that have only this value. Areas have as many
            squares as pixels, nearly; a border of one pixel has none.
    """

    files: int = 0
    pixels: int = 0
    blocks: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.files + other.files, self.pixels + other.pixels, self.blocks + other.blocks)


Counts = Mapping[int, Count]


@dataclass(frozen=True)
class MaskValues:
    """Values of one mask, or of several after `merged`. Colours are numbers 0xRRGGBB.

    Attributes:
        files: Number of masks.
        levels: Grey levels of the grey masks.
        indices: Indices of the masks with a palette.
        colours: Colours of the colour masks and of those with a palette.
        palette: The pairs (index, colour) of the masks with a palette.
        true_colour: Whether a mask has colours without a palette.
        lossy: Whether a grey mask is a JPEG or a lossy WebP, so that its levels are inexact.
        void: Whether one mask has both the value 255 and a value from 1 to LARGEST_INDEX.
    """

    files: int = 0
    levels: Counts = field(default_factory=dict)
    indices: Counts = field(default_factory=dict)
    colours: Counts = field(default_factory=dict)
    palette: frozenset[tuple[int, int]] = frozenset()
    true_colour: bool = False
    lossy: bool = False
    void: bool = False


@dataclass(frozen=True, eq=False)
class RawMask:
    """A decoded mask file before its values are interpreted.

    Attributes:
        values: uint8 or uint16 [H, W] grey levels or indices, or uint32 [H, W] colours 0xRRGGBB.
        reading: What the values are.
        palette: uint32 [256] colours by index; None without a palette.
        lossy: Whether the file is a JPEG or a lossy WebP.
        oriented: Whether the file has an EXIF orientation of its own; it has been applied.
    """

    values: NDArray[Any]
    reading: Reading
    palette: NDArray[np.uint32] | None
    lossy: bool
    oriented: bool

    def read_as(self, reading: Reading) -> NDArray[Any]:
        """Return the values as grey levels, indices or colours, or as they are if that is impossible."""
        values = self.values
        if self.palette is not None and reading != "index":
            table = self.palette if reading == "colour" else (self.palette & 0xFF).astype(np.uint8)
            return np.take(table, values)
        if self.reading == "level" and reading == "colour":
            return values.astype(np.uint32) * np.uint32(_GREY_CODE)
        return values


def read_raw(data: bytes) -> RawMask:
    """Decode a mask file without interpreting its values.

    A mask in colour whose pixels are all grey counts as grey. A mask of one colour that is transparent, in
    whole or in part, is read from its alpha channel.

    Raises:
        UserError: as for `decode.read_picture`.
    """
    with opened(data) as picture:
        orientation = stored_orientation(picture)
        palette = None
        lossy = picture.format == "JPEG" or (picture.format == "WEBP" and b"VP8L" not in data[:64])
        reading: Reading
        if picture.mode == "P":
            values, reading, palette = to_array(picture), "index", _codes(palette_colours(picture))
        else:
            pixels = decode(picture, data)[0]
            if picture.mode in ("RGBA", "LA") and (pixels == pixels[:1, :1]).all():
                alpha = to_array(picture.getchannel("A"))
                pixels = pixels if (alpha == 255).all() else alpha
            values, reading = _grey_or_colours(pixels, lossy=lossy)
    if picture.format != "TIFF":  # Pillow has turned a TIFF
        values = turn(values, orientation)
    return RawMask(values, reading, palette, lossy, orientation > 0)


def mask_values(data: bytes) -> MaskValues:
    """Return which values a mask file holds.

    Raises:
        UserError: if the file cannot be decoded, or holds so many colours that it is no mask. The message has
            no subject.
    """
    mask = read_raw(data)
    counts = _count(mask.values)
    void = VOID in counts and any(0 < value <= LARGEST_INDEX for value in counts)
    if mask.palette is not None:
        colours: dict[int, Count] = {}
        for index, count in counts.items():
            colour = int(mask.palette[index])
            before = colours.get(colour, Count())
            colours[colour] = Count(1, before.pixels + count.pixels, before.blocks + count.blocks)
        palette = frozenset((index, int(mask.palette[index])) for index in counts)
        return MaskValues(1, indices=counts, colours=colours, palette=palette, void=void)
    if mask.reading == "level":
        return MaskValues(1, levels=counts, lossy=mask.lossy, void=void)
    if mask.lossy:
        raise UserError("is a JPEG with colours, which compression has changed; save masks as PNG")
    if len(counts) > MAX_COLOURS:
        raise UserError(
            f"holds {len(counts)} colours, expected one per defect type, {MAX_COLOURS} at most, without "
            "soft borders; is it a mask?"
        )
    return MaskValues(1, colours=counts, true_colour=True)


def merged(values: Iterable[MaskValues]) -> MaskValues:
    """Return the values of all masks together."""
    total = MaskValues()
    for one in values:
        total = MaskValues(
            files=total.files + one.files,
            levels=add_counts(total.levels, one.levels),
            indices=add_counts(total.indices, one.indices),
            colours=add_counts(total.colours, one.colours),
            palette=total.palette | one.palette,
            true_colour=total.true_colour or one.true_colour,
            lossy=total.lossy or one.lossy,
            void=total.void or one.void,
        )
    return total


def add_counts(*parts: Counts) -> dict[int, Count]:
    """Return the sum of counts by value."""
    total = defaultdict[int, Count](Count)
    for counts in parts:
        for value, count in counts.items():
            total[value] += count
    return dict(total)


def as_colours(levels: Counts) -> dict[int, Count]:
    """Return the counts of grey levels by the codes of their colours."""
    return {level * _GREY_CODE: count for level, count in levels.items()}


def as_levels(colours: Counts) -> dict[int, Count]:
    """Return the counts of grey colours by level."""
    return {colour & 0xFF: count for colour, count in colours.items()}


def is_grey(colour: int) -> bool:
    """Return whether the three channels of a colour 0xRRGGBB are equal."""
    return colour == (colour & 0xFF) * _GREY_CODE


def _grey_or_colours(pixels: NDArray[Any], *, lossy: bool) -> tuple[NDArray[Any], Reading]:
    if pixels.ndim == 2:
        return pixels, "level"
    if np.ptp(pixels, axis=2).max() <= (_NEARLY_GREY if lossy else 0):
        return pixels[..., 1], "level"
    return _codes(pixels), "colour"


def _codes(colours: NDArray[Any]) -> NDArray[np.uint32]:
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    return (red << np.uint32(16)) | (green << np.uint32(8)) | blue


def _count(values: NDArray[Any]) -> dict[int, Count]:
    block = (values[:-1, :-1] == values[1:, :-1]) & (values[:-1, :-1] == values[:-1, 1:])
    block &= values[:-1, :-1] == values[1:, 1:]
    pixels, blocks = _histogram(values.ravel()), _histogram(values[:-1, :-1][block])
    return {value: Count(1, number, blocks.get(value, 0)) for value, number in pixels.items()}


def _histogram(values: NDArray[Any]) -> dict[int, int]:
    """Count the values by their runs, because masks consist of few runs; sorting all pixels is slow."""
    if not values.size:
        return {}
    starts = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
    lengths = np.diff(starts, append=values.size)
    distinct, of_run = np.unique(values[starts], return_inverse=True)
    totals = np.zeros(len(distinct), np.int64)
    np.add.at(totals, of_run, lengths)
    return {int(value): int(total) for value, total in zip(distinct, totals, strict=True)}
