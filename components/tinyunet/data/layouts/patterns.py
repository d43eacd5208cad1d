"""The user's patterns of the layout `pairs`: `--images 'photos/*.jpg' --masks 'labels/{stem}_gt.png'`."""

import re
from dataclasses import replace
from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.matching import Picture
from tinyunet.data.layouts.names import common_folder, folders_of, is_picture, split_of, stem_of
from tinyunet.data.sources.trees import Tree, composed

_FIELDS = ("stem", "name", "folder", "parent")


def find(tree: Tree, images: str, masks: str) -> tuple[list[Picture], list[Picture]]:
    """Return the images and the masks that two patterns name, relative to the root of the source.

    Args:
        tree: The source. If all of its files are in one folder, patterns may also be relative to that one.
        images: Pattern of the image files: `*` and `?` do not match `/`, `**/` matches any folders. It may
            have `{stem}` in the place of the part of the file name that the mask has, too: `{stem}_0000.png`.
        masks: Path of the mask of an image: `{stem}` is that part, or the file name of the image without
            extension, `{name}` that with extension, `{folder}` its folder, `{parent}` the folder of that. It
            may also contain `*`.

    Raises:
        UserError: if a pattern is missing or wrong, no image has the first one, or none has a mask.
    """
    images, masks = composed(images), composed(masks)
    _check(images, masks)
    root = common_folder(tree.names)
    for prefix in ("", root):
        names = [name for name in tree.names if name.startswith(prefix) and is_picture(name)]
        matcher = re.compile(re.escape(prefix) + _expression(images), re.IGNORECASE)
        found = {name: match for name in names if (match := matcher.fullmatch(name))}
        if found:
            stems = {name: match.groupdict().get("stem") or stem_of(name) for name, match in found.items()}
            return _match(stems, names, prefix, masks)
    seen = ", ".join([name for name in tree.names if is_picture(name)][:3]) or "no pictures"
    raise UserError(
        f"--images is {images!r}, but no picture of {tree.location} has this path; it holds {seen}, …"
    )


def _check(images: str, masks: str) -> None:
    example = "--images 'photos/*.jpg' --masks 'labels/{stem}_gt.png'"
    for option, value in (("--images", images), ("--masks", masks)):
        if not value:
            raise UserError(f"{option} is missing; expected both patterns, such as {example}")
        if value.startswith("/") or ".." in PurePosixPath(value).parts:
            raise UserError(f"{option} is {value!r}; expected a path inside the source, such as {example}")
    if images.count("{stem}") > 1 or set(re.findall(r"\{([^{}]*)\}", images)) - {"stem"}:
        raise UserError(f"--images is {images!r}; expected only {{stem}}, and once, as in {example}")
    fields = re.findall(r"\{([^{}]*)\}", masks)
    if unknown := [field for field in fields if field not in _FIELDS]:
        raise UserError(
            f"--masks is {masks!r} with {{{unknown[0]}}}; expected only {{stem}}, {{name}}, {{folder}} and "
            "{parent}"
        )
    if not {"stem", "name", "folder"} & set(fields):
        raise UserError(
            f"--masks is {masks!r} without {{stem}}; expected the mask of each image, as in {example}"
        )


def _match(
    stems: dict[str, str], names: list[str], prefix: str, masks: str
) -> tuple[list[Picture], list[Picture]]:
    """Return pictures whose folders are those of the image, for the masks too, so that they match.

    Args:
        stems: The stems of the images by their files.
        names: All pictures.
        prefix: Folder to which the pattern of the masks is relative, with `/` at its end.
        masks: Pattern of the masks.
    """
    others = [name for name in names if name not in stems]
    by_path = {name.lower(): name for name in others}
    images, found, used = [], [], set[str]()
    for file, stem in stems.items():
        image = replace(_image(file, prefix), stem=stem)
        images.append(image)
        mask = _mask_of(image, prefix, masks, others, by_path)
        if mask in used:
            raise UserError(
                f"--masks is {masks!r}, and {mask} is the mask of {file} and of another image; expected a "
                "mask for each image, for example with {folder} in the pattern"
            )
        if mask:
            used.add(mask)
            found.append(Picture(mask, image.stem, image.split, image.folders))
    if not found:
        seen = ", ".join(others[:3]) or "no other picture"
        raise UserError(
            f"--masks is {masks!r}, but {images[0].file} and all others have no such file; there is {seen}, …"
        )
    any_mask = re.compile(re.escape(prefix) + _expression(re.sub(r"\{[^{}]*\}", "**", masks)), re.IGNORECASE)
    unused = [name for name in others if name not in used and any_mask.fullmatch(name)]
    return images, found + [_image(name, prefix) for name in unused]


def _image(file: str, prefix: str) -> Picture:
    parts = folders_of(file.removeprefix(prefix))
    split = next((split_of(part) for part in parts if split_of(part)), "")
    return Picture(file, stem_of(file), split, tuple(part for part in parts if not split_of(part)))


def _mask_of(image: Picture, prefix: str, masks: str, others: list[str], by_path: dict[str, str]) -> str:
    path = PurePosixPath(image.file.removeprefix(prefix))
    values = {
        "stem": image.stem,
        "name": path.name,
        "folder": str(path.parent),
        "parent": str(path.parent.parent),
    }
    if not re.search(r"[*?]", masks):
        expected = re.sub(r"\{(\w+)\}", lambda field: values[field[1]], masks)
        return by_path.get(f"{prefix}{PurePosixPath(expected)}".lower(), "")
    pieces = re.split(r"(\{\w+\})", masks)
    expression = "".join(
        re.escape(values[piece[1:-1]]) if piece.startswith("{") else _expression(piece) for piece in pieces
    )
    expression = expression.removeprefix(re.escape("./"))  # the folder of an image at the root is `.`
    matcher = re.compile(re.escape(prefix) + expression, re.IGNORECASE)
    return next((name for name in others if matcher.fullmatch(name)), "")


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern with `*`, `?`, `**` and `{stem}`."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\{stem\})", pattern)
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{stem}": "(?P<stem>[^/]+)"}
    return "".join(translated.get(piece) or re.escape(piece) for piece in pieces)
