"""Names of folders and files that mean the same in the data sets of different authors."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from posixpath import splitext

from tinyunet.data.pictures.suffixes import SUFFIXES

SPLITS: dict[str, str] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "train_val": "train",
    "tr": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "validierung": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "ts": "test",
}
_CLEAN = {"good", "ok", "free", "normal", "clean", "perfect", "faultless", "flawless", "healthy", "negative"}
_CLEAN |= {"negatives", "intact", "undamaged", "gut", "gutteil", "gutteile", "fehlerfrei", "io"}
_CLEAN |= {"ohnefehler", "kein", "keine"}
_CLEAN_WITHOUT = {"defect", "defects", "defective", "anomaly", "anomalies", "anomalous", "fault", "faults"}
_NOT = {"no", "non", "not", "without", "false", "nicht"}
_TWO_WORDS: dict[tuple[str, ...], str] = {  # German: i.O. is "in order", and n.i.O. is not
    ("i", "o"): "io",
    ("n", "io"): "nio",
    ("n", "ok"): "nok",
    **{(word, "fehler"): "fehlerfrei" for word in ("ohne", "kein", "keine")},
}
_MASK_END = re.compile(
    r"(?i)^(?P<stem>.*[^ _.-])[ _.-]+"
    r"(?:masks?|masken?|labels?|gt|seg|segm|segmentation|annotations?|ground[ _-]?truth|defects?mask)"
    r"(?:[ _-]?\d{1,2})?$"  # of several masks of an image
)


def is_picture(name: str) -> bool:
    """Return whether a file has the extension of an image format, in any case."""
    return suffix_of(name) in SUFFIXES


def suffix_of(name: str) -> str:
    """Return the extension in lower case, such as `.png`."""
    return splitext(name)[1].lower()


def folders_of(name: str) -> tuple[str, ...]:
    """Return the folders of a path; as text, because objects of paths take seconds for 100,000 files."""
    return tuple(name.split("/")[:-1])


def without_repeats(folders: Sequence[str]) -> tuple[str, ...]:
    """Return folders without those that are in one of their name, as archives are unpacked: `train/train`."""
    return tuple(part for part, before in zip(folders, ("", *folders), strict=False) if part != before)


_SPLIT_END = re.compile(r"[ _-]?(set|data|split|images|imgs)$")


def split_of(folder: str) -> str:
    """Return `train`, `validation` or `test` for the name of a folder or a split; empty for another name."""
    name = folder.strip().lower()
    return SPLITS.get(name) or SPLITS.get(_SPLIT_END.sub("", name), "")


def stem_of(name: str) -> str:
    """Return the file name without folder and extension."""
    return splitext(name.rpartition("/")[2])[0]


def mask_stem(stem: str) -> str:
    """Return the stem of the image of a mask: `x` of `x_mask` or `x-GT2`; empty for another name."""
    match = _MASK_END.match(stem)
    return match["stem"] if match else ""


@lru_cache(maxsize=10_000)
def words_of(folder: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: `JPEGImages` is ("jpeg", "images")."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", folder)
    return tuple(word for word in re.split(r"[\W_]+", spaced.lower()) if word)


def is_clean(folder: str) -> bool:
    """Return whether a folder or type is named after images without a defect.

    Examples:
        >>> [is_clean(name) for name in ("MT_Free", "good", "no defect", "NODefect", "not ok", "scratch")]
        [True, True, True, True, False, False]
        >>> [is_clean(name) for name in ("gut", "iO", "i.O.", "Teile_IO", "niO", "n.i.O.", "NOK", "schlecht")]
        [True, True, True, True, False, False, False, False]
    """
    words = words_of(folder)
    while last := _TWO_WORDS.get(words[-2:]):
        words = (*words[:-2], last)
    joined = "".join(words)
    if any(joined.endswith(no + what) for no in ("no", "non", "without") for what in _CLEAN_WITHOUT):
        return True
    if any(joined.endswith(f"{what}free") for what in _CLEAN_WITHOUT):
        return True
    return bool(words) and words[-1] in _CLEAN and not _NOT & set(words)


def common_folder(names: Iterable[str]) -> str:
    """Return the folder that holds all files, with `/` at its end; empty if there is none."""
    parents = [folders_of(name) for name in names]
    shared: list[str] = []
    for column in zip(*parents, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return "".join(f"{part}/" for part in shared)


def varying(folders: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return each tuple of folders without the folders that all of them have."""
    constant = set(folders[0]).intersection(*map(set, folders)) if folders else set()
    return [tuple(folder for folder in parts if folder not in constant) for parts in folders]


def are_numbers(folders: Iterable[str]) -> bool:
    """Return whether folders differ only by a number: `kos01`, `kos02`; they are parts then, not types."""
    names = set(folders)
    starts = {re.sub(r"\d+$", "", name).lower() for name in names}
    return len(names) > 1 and len(starts) == 1 and all(name[-1:].isdigit() for name in names)


def sample_name(parts: Iterable[str]) -> str:
    """Return the name of a sample from the parts of its path: letters, digits, `.`, `_` and `-`."""
    text = unicodedata.normalize("NFKD", "-".join(parts)).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "image"


class UniqueNames:
    """Names that are unique in their split, also where upper and lower case are the same."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def add(self, split: str, name: str) -> str:
        """Return the name, or the name with the first of -2, -3, … that is free."""
        unique, number = name, 1
        while (split, unique.lower()) in self._taken:
            number += 1
            unique = f"{name}-{number}"
        self._taken.add((split, unique.lower()))
        return unique
