"""Annotated images of any format, and the samples of a data set that they describe."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.shapes import Shape, draw, picture_size, type_values
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem, SourceFile, SourceSample
from tinyunet.data.layouts.matching import count_text, sort_samples, source_file
from tinyunet.data.layouts.names import UniqueNames, is_picture, sample_name, split_of, stem_of, words_of
from tinyunet.data.sources.trees import Tree, composed


@dataclass(frozen=True)
class AnnotatedImage:
    """The annotations of one image.

    Attributes:
        path: Path or name of the image, as the annotations have it.
        split: `train`, `validation` or `test`; empty if unknown.
        size: (width, height) of the image; None to read it from the image.
        shapes: Regions of defects; later ones cover earlier ones.
        others: What else marks defects, and is not drawn: `boxes`, or `boxes and lines`; empty for nothing.
    """

    path: str
    split: str = ""
    size: tuple[int, int] | None = None
    shapes: tuple[Shape, ...] = ()
    others: str = ""


@dataclass(frozen=True)
class Format:
    """What a layout says about its annotations.

    Attributes:
        layout: Name of the layout.
        title: Name of the format, for the user.
        files: Annotation files, which are not ignored.
        complete: Whether an image that is not in the annotations is a fault.
        problems: Faults of the annotation files.
        notes: What a user should know, and is no fault.
    """

    layout: str
    title: str
    files: Sequence[str]
    complete: bool = True
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def make_listing(
    tree: Tree, options: LayoutOptions, form: Format, items: Sequence[AnnotatedImage]
) -> Listing:
    """Return the samples of annotated images; an image without shapes is clean.

    Raises:
        UserError: if none of the images is in the source.
    """
    items = [replace(item, path=composed(item.path)) for item in items]
    values = type_values(shape.type_name for item in items for shape in item.shapes)
    samples, problems, found = _samples(tree, items, values)
    if not samples:
        first = f"; {(*form.problems, *problems)[0]}" if (*form.problems, *problems) else ""
        raise UserError(f"{tree.location} has {form.title} annotations, but of no image in it{first}")
    problems = [*form.problems, *problems]
    faulty = {problem.file for problem in problems}
    if form.complete:
        others = [name for name in tree.names if is_picture(name) and name not in found | faulty]
        message = "is an image that is not in the annotations"
        problems += [Problem(name, message) for name in others if not is_annotation(name)]
    used = {sample.image.name for sample in samples} | {*form.files} | {problem.file for problem in problems}
    return Listing(
        layout=form.layout,
        found=f"{form.title} annotations: {count_text(samples)}; labels {', '.join(values) or 'none'}",
        category=options.category,
        samples=sort_samples(samples),
        problems=tuple(problems),
        notes=(*form.notes, *_note_others(items)),
        ignored=tuple(name for name in tree.names if name not in used),
        type_names={value: name for name, value in values.items()},
    )


def _note_others(items: Sequence[AnnotatedImage]) -> list[str]:
    """Return a note if images have boxes or lines beside their regions."""
    mixed = [item for item in items if item.others and item.shapes]
    count = f"{len(mixed)} image{'s' * (len(mixed) != 1)}"
    return [f"{one.others} of {count} are not used, such as those of {one.path}" for one in mixed[:1]]


def is_annotation(name: str) -> bool:
    """Return whether a picture belongs to the annotations: `SegmentationClass`, `Masks`, `panoptic_train`."""
    words = {word for part in PurePosixPath(name).parts[:-1] for word in words_of(part)}
    return bool(words & {"segmentation", "masks", "panoptic", "annotations"})


def clean_images(names: Sequence[str]) -> tuple[list[AnnotatedImage], tuple[str, ...]]:
    """Return images that no annotation names as clean ones, and the note that says so."""
    images = [AnnotatedImage(name, split_of_folders(name)) for name in names]
    note = f"images that are not in the annotations count as clean: {len(names)}, such as "
    return images, (note + names[0],) if names else ()


def split_of_folders(name: str) -> str:
    """Return the split that the innermost folder named after one says; empty without one."""
    return next((split_of(part) for part in reversed(name.split("/")[:-1]) if split_of(part)), "")


def _samples(
    tree: Tree, items: Iterable[AnnotatedImage], values: dict[str, int]
) -> tuple[list[SourceSample], list[Problem], set[str]]:
    """Return the samples, the faults, and the images that were found."""
    names, seen, samples, problems = UniqueNames(), set[str](), list[SourceSample](), list[Problem]()
    by_stem = defaultdict[str, list[str]](list)
    for name in filter(is_picture, tree.names):
        if not is_annotation(name):
            by_stem[stem_of(name).lower()].append(name)
    for item in items:
        image = find_image(item, by_stem[stem_of(item.path).lower()])
        if image in seen:
            problems.append(Problem(image, "is a second time in the annotations"))
        elif not image:
            message = "is in the annotations, but not in the source"
            problems.append(Problem(item.path.rpartition("/")[2], message))
        elif item.others and not item.shapes:
            problems.append(Problem(image, f"has {item.others} only; expected polygons or masks"))
        else:
            seen.add(image)
            samples.append(_sample(tree, item, image, names, values))
    return samples, problems, seen


def _sample(
    tree: Tree, item: AnnotatedImage, image: str, names: UniqueNames, values: dict[str, int]
) -> SourceSample:
    mask = None
    if item.shapes:

        def size() -> tuple[int, int]:
            return item.size or picture_size(partial(tree.read, image))

        mask = SourceFile(f"the mask of {image}", partial(draw, item.shapes, values, size), upright=True)
    return SourceSample(
        name=names.add(item.split, sample_name([stem_of(image)])),
        image=source_file(tree, image),
        mask=mask,
        split=item.split,
        defective=None if mask else False,
    )


def find_image(item: AnnotatedImage, names: Sequence[str]) -> str:
    """Return the image of the source whose path has most of its last parts in common with the annotation's.

    Where several have equally many, it is the one in a folder of the split; empty if it cannot be told.

    Args:
        item: The annotations of the image.
        names: Images of the source with the same stem.
    """
    wanted = [part.lower() for part in PurePosixPath(item.path).with_suffix("").parts[::-1]]

    def rank(name: str) -> tuple[int, bool]:
        parts = PurePosixPath(name).with_suffix("").parts
        same = [a == b.lower() for a, b in zip(wanted, parts[::-1], strict=False)]
        in_split = any(split_of(part) == item.split for part in parts) if item.split else False
        return (same.index(False) if False in same else len(same)), in_split

    ranked = sorted(names, key=rank, reverse=True)
    if len(ranked) > 1 and rank(ranked[0]) == rank(ranked[1]):
        return ""
    return ranked[0] if ranked else ""
