"""Text files that list the images of a split: `train.txt` and `test.txt`, a path or a name a line."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from posixpath import splitext

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.matching import Match, Picture
from tinyunet.data.layouts.names import is_picture, split_of, stem_of, suffix_of, words_of
from tinyunet.data.sources.trees import Tree, composed

_ENDS = (".txt", ".lst")


def with_lists(tree: Tree, matches: Sequence[Match]) -> tuple[list[Match], tuple[str, ...]]:
    """Return images with the splits of the lists, and a note if the lists do not name all of them.

    The lists are not read if a folder says the split of an image.
    """
    files = _files(tree)
    if not files or any(match.image.split or (match.mask and match.mask.split) for match in matches):
        return list(matches), ()
    splits = _splits(tree, files, [match.image for match in matches])
    left_out = len(matches) - sum(map(bool, splits.values()))
    if splits and (left_out or len(set(splits.values())) == 1):
        count = f"{left_out} image{'s' * (left_out != 1)}"
        reason = f"{count} would have no split, or two" if left_out else "there is only one"
        return list(matches), (f"the splits of {', '.join(files[:3])} are not used: {reason}",)
    if not splits:
        return list(matches), ()
    return [replace(one, image=replace(one.image, split=splits[one.image.file])) for one in matches], ()


def _files(tree: Tree) -> list[str]:
    """Return the lists; without `trainval`, that of two splits together, if there is one for validation."""
    files = [name for name in tree.names if suffix_of(name) in _ENDS and split_of(stem_of(name))]
    if not any(split_of(stem_of(name)) == "validation" for name in files):
        return files
    return [name for name in files if not "".join(words_of(stem_of(name))).startswith("trainval")]


def _splits(tree: Tree, files: Sequence[str], images: Sequence[Picture]) -> dict[str, str]:
    """Return the splits of the listed images; empty for those in lists of two splits."""
    by_name: dict[str, str] = {}  # empty for the names of several images
    for image in images:
        for name in _names(image.file):
            by_name[name] = "" if by_name.get(name, image.file) != image.file else image.file
    splits: dict[str, str] = {}
    for file in files:
        split = split_of(stem_of(file))
        for listed in _listed(tree, file, by_name):
            splits[listed] = split if splits.get(listed, split) == split else ""
    return splits


def _listed(tree: Tree, file: str, by_name: dict[str, str]) -> Iterable[str]:
    """Yield the images of the lines of a list; a line may name the mask too, behind a space."""
    try:
        lines = composed(tree.read(file).decode("utf-8-sig", "replace")).splitlines()
    except (OSError, UserError):
        return
    for line in filter(str.strip, lines):
        names = [name for text in (line.strip(), line.split()[0]) for name in _names(text.replace("\\", "/"))]
        yield from [by_name[name] for name in names if by_name.get(name)][:1]


def _names(path: str) -> list[str]:
    """Return the ends of a path that begin with a folder or the file name, also without extension."""
    parts = path.lower().split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return [*ends, *(splitext(end)[0] for end in ends if is_picture(end))]
