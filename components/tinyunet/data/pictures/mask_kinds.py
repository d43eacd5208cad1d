"""Decide what the values of the masks of a data set mean."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.mask_values import (
    LARGEST_INDEX,
    VOID,
    Count,
    MaskValues,
    Reading,
    add_counts,
    as_colours,
    as_levels,
    is_grey,
    merged,
)

LARGEST_LEVELS = 16  # so many arbitrary grey levels can be defect types; more are soft borders
LARGEST_COLOURS = 64
# Squares of 2×2 pixels per pixel from which a level covers areas and not only borders. Measured: at most .006
# for the levels at the borders of magnetic-tile, .87 to .96 for the types of NEU-SEG.
_AREA = 0.1
WORDS: dict[Reading, str] = {"level": "grey level", "index": "palette index", "colour": "colour"}


@dataclass(frozen=True)
class MaskKind:
    """What the values of the masks of a data set mean; `str` says it in one line.

    Attributes:
        words: The line.
        reading: Whether masks are read as grey levels, indices of a palette or colours 0xRRGGBB.
        types: Type of the defect by value; 0 for the background and for void. Empty for soft borders.
        names: Name of every defect type by type: the value, or the colour as `#rrggbb`. Empty if the masks
            only tell defective from clean.
        threshold: With soft borders: levels from it on are defective. Otherwise 0.
        inverted: With soft borders: whether levels below the threshold are defective instead.
    """

    words: str
    reading: Reading = "level"
    types: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    threshold: int = 0
    inverted: bool = False

    def __str__(self) -> str:
        return self.words


def decide(values: Iterable[MaskValues]) -> MaskKind:
    """Decide from the values of all masks of a data set what they mean.

    1. Reading: masks with a palette are read as indices if all palettes give an index the same colour;
       otherwise as colours, or as grey levels if no mask has colour.
    2. Background: 0 (black; the index that is black) if all masks hold it; otherwise the most frequent value
       if all masks hold that; otherwise 0 again.
    3. Meaning: one other value is the defect. Integers up to LARGEST_INDEX are defect types; 255 beside them
       is void, that is not defective. Up to LARGEST_LEVELS other grey levels are types if each covers areas.
       Levels that occur only at borders, and the levels of JPEG files, are soft borders: half of the range is
       the edge. Every colour is a type.

    Args:
        values: As from `mask_values.mask_values`, one for every mask of the data set.

    Raises:
        UserError: if the values cannot be interpreted. The subject of the message is `the masks`.
    """
    total = merged(values)
    reading, counts = _reading(total)
    background = _background(total, reading, counts)
    marked = sorted(set(counts) - {background})
    # Some masks hold 0 and 1, some 0 and 255.
    two_scales = reading != "colour" and background == 0 and marked == [1, VOID] and not total.void
    if len(marked) <= 1 or two_scales:
        kind = _binary(reading, background, marked)
    elif reading == "level" and (total.lossy or _is_soft(counts, background, marked)):
        kind = _soft(counts, background)
    else:
        kind = _typed(total, reading, background, marked)
    share = _defective_share(kind, counts)
    if share <= 0.5:
        return kind
    caution = f"; {share:.0%} of all pixels are then defective: are the masks inverted?"
    return replace(kind, words=kind.words + caution)


def _reading(total: MaskValues) -> tuple[Reading, Mapping[int, Count]]:
    colours = add_counts(total.colours, as_colours(total.levels))
    if total.true_colour:
        return "colour", colours
    if not total.indices:
        return "level", total.levels
    indices = {index for index, _ in total.palette}
    if len(total.palette) == len(indices) and set(total.levels) <= indices | {0}:
        return "index", add_counts(total.indices, total.levels)
    if all(map(is_grey, total.colours)):
        return "level", add_counts(total.levels, as_levels(total.colours))
    return "colour", colours


def _background(total: MaskValues, reading: Reading, counts: Mapping[int, Count]) -> int:
    black = [index for index, colour in total.palette if colour == 0 and reading == "index"]
    zero = min(black, default=0)
    in_all = {value for value, count in counts.items() if count.files == total.files}
    most = max(counts, key=lambda value: counts[value].pixels, default=zero)
    if zero not in in_all and most in in_all and (reading == "colour" or len(counts) > 1):
        return most
    return zero if zero in counts or reading != "colour" else most


def _is_soft(counts: Mapping[int, Count], background: int, marked: Sequence[int]) -> bool:
    """Return whether grey levels between background and defect are soft borders, and not defect types."""
    areas = _areas(counts, marked)
    if background == 0 and _are_indices(marked):
        return VOID in marked and areas == [VOID]
    if len(marked) > LARGEST_LEVELS or len(areas) <= 1:
        return True
    if len(areas) == len(marked):
        return False
    borders = sorted(set(marked) - set(areas))
    raise UserError(
        f"the masks hold areas of the grey levels {_list(areas)} and thin lines of {_list(borders)}, which "
        "can be defect types or soft borders; save the masks with one level per type and no soft borders"
    )


def _areas(counts: Mapping[int, Count], marked: Sequence[int]) -> list[int]:
    return [value for value in marked if counts[value].blocks >= _AREA * counts[value].pixels]


def _are_indices(marked: Sequence[int]) -> bool:
    return all(value <= LARGEST_INDEX or value == VOID for value in marked)


def _soft(counts: Mapping[int, Count], background: int) -> MaskKind:
    largest = max(counts)
    threshold = 128 if largest <= 255 else 32768
    if largest < threshold:
        raise UserError(
            f"the masks hold {len(counts)} grey levels from {min(counts)} to {largest}; expected 0 to 255 "
            "for soft borders, or one level per defect type without soft borders"
        )
    between = sum(count.pixels for level, count in counts.items() if threshold <= 4 * level <= 7 * threshold)
    if 2 * between > sum(count.pixels for count in counts.values()):
        raise UserError(
            "the masks hold mostly grey levels between black and white; expected black and white with soft "
            "borders, or one level per defect type; are they photographs?"
        )
    inverted = background >= threshold
    side = f"below {threshold}" if inverted else f"from {threshold} on"
    words = f"grey with soft borders: {len(counts)} levels, those {side} are defective"
    return MaskKind(words, threshold=threshold, inverted=inverted)


def _binary(reading: Reading, background: int, marked: Sequence[int]) -> MaskKind:
    types = {background: 0} | dict.fromkeys(marked, 1)
    name = WORDS[reading]
    if not marked:
        return MaskKind(f"only the {name} {value_text(background, reading)}: no defect", reading, types)
    values = " and ".join(value_text(value, reading) for value in marked)
    verb = "is" if len(marked) == 1 else "are"
    words = f"two values: {name} {values} {verb} defective, {value_text(background, reading)} is not"
    return MaskKind(words, reading, types)


def _typed(total: MaskValues, reading: Reading, background: int, marked: Sequence[int]) -> MaskKind:
    if len(marked) > LARGEST_COLOURS:
        raise UserError(
            f"the masks hold {len(marked) + 1} different {WORDS[reading]} values; expected one per defect "
            f"type, {LARGEST_COLOURS} at most"
        )
    void = [VOID] if reading != "colour" and VOID in marked and _are_indices(marked) else []
    marked = [value for value in marked if value not in void]
    keep = background == 0 and marked[-1] <= 255 and reading != "colour"
    numbers = {value: value if keep else number for number, value in enumerate(marked, start=1)}
    names = {number: value_text(value, reading) for value, number in numbers.items()}
    subject = "palette indices" if reading == "index" else f"{WORDS[reading]}s"
    plural = "" if len(marked) == 1 else "s"
    words = f"{subject} are {len(marked)} defect type{plural}: {', '.join(names.values())}"
    words += f"; {value_text(background, reading)} is the background"
    if void:
        words += f", and {VOID} is void: read as not defective"
    return MaskKind(words, reading, {background: 0} | dict.fromkeys(void, 0) | numbers, names)


def _defective_share(kind: MaskKind, counts: Mapping[int, Count]) -> float:
    def defective(value: int) -> bool:
        if kind.threshold:
            return (value >= kind.threshold) != kind.inverted
        return kind.types[value] > 0

    pixels = sum(count.pixels for count in counts.values())
    return sum(count.pixels for value, count in counts.items() if defective(value)) / max(pixels, 1)


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def value_text(value: int, reading: Reading) -> str:
    """Return a value for messages: a number, or `#rrggbb`."""
    return f"#{value:06x}" if reading == "colour" else str(value)
