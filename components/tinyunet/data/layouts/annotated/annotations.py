"""Layout `annotations`: COCO, CVAT, LabelMe's XML, Pascal VOC with masks, Datumaro; also exports of Geti.

Datumaro reads them: https://github.com/open-edge-platform/datumaro. It needs a folder on this machine: the
annotation files are copied there, and empty files take the place of the images.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.formats import TITLES, detect, stage
from tinyunet.data.layouts.annotated.shapes import Shape, draw, is_background, pack, picture_size, type_values
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem, SourceFile, SourceSample
from tinyunet.data.layouts.matching import count_text, sort_samples, source_file
from tinyunet.data.layouts.names import UniqueNames, is_picture, sample_name, split_of, stem_of, words_of
from tinyunet.data.sources.trees import Tree

if TYPE_CHECKING:
    from datumaro import Annotation, DatasetItem

NAME = "annotations"


@dataclass(frozen=True)
class _Item:
    """The annotations of one image: its path in them, its split, (width, height) and its regions."""

    path: str
    split: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    only_boxes: bool


def recognise(tree: Tree) -> bool:
    """Return whether there is a folder SegmentationClass, or an early JSON or XML file is of a format."""
    return detect(tree)[0] != ""


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; an image without shapes is clean.

    Raises:
        UserError: if there are no annotations, or they cannot be read.
    """
    kind, files = detect(tree)
    if not kind:
        raise UserError(
            f"{tree.location} has no annotations of {', '.join(TITLES.values())}; export them as one"
        )
    items = _read(tree, kind, files)
    values = type_values(shape.type_name for item in items for shape in item.shapes)
    samples, problems = _samples(tree, items, values)
    if not samples:
        first = f"; {problems[0]}" if problems else ""
        raise UserError(f"{tree.location} has {TITLES[kind]} annotations, but of no image in it{first}")
    used = {sample.image.name for sample in samples} | set(files)
    others = [name for name in tree.names if is_picture(name) and name not in used and not _is_mask(name)]
    if kind != "voc_segmentation":  # most images of Pascal VOC have boxes only
        problems += [Problem(name, "is an image that is not in the annotations") for name in others]
    named = used | {problem.file for problem in problems}
    return Listing(
        layout=NAME,
        found=f"{TITLES[kind]} annotations: {count_text(samples)}; labels {', '.join(values) or 'none'}",
        category=options.category,
        samples=sort_samples(samples),
        problems=tuple(problems),
        ignored=tuple(name for name in tree.names if name not in named),
        type_names={value: name for name, value in values.items()},
    )


def _is_mask(name: str) -> bool:
    """Return whether a picture belongs to the annotations: `SegmentationClass`, `Masks`, `panoptic_train`."""
    words = {word for part in PurePosixPath(name).parts[:-1] for word in words_of(part)}
    return bool(words & {"segmentation", "masks", "panoptic", "annotations"})


def _read(tree: Tree, kind: str, files: list[str]) -> list[_Item]:
    """Return the annotations that Datumaro reads.

    Raises:
        UserError: if Datumaro is not installed or cannot read them.
    """
    try:
        import datumaro
    except ImportError as error:
        raise UserError(
            f"{tree.location} has {TITLES[kind]} annotations, and the package datumaro, which reads them, "
            "is not installed; pip install 'tinyunet[annotations]'"
        ) from error
    with TemporaryDirectory() as folder, _without_warnings():
        splits = stage(tree, kind, files, Path(folder))
        try:
            dataset = datumaro.Dataset.import_from(folder, kind)
            labels = [str(label.name) for label in dataset.categories()[datumaro.AnnotationType.label]]
            return [_item(item, labels, splits) for item in dataset]
        except Exception as error:  # the readers of Datumaro raise errors of any type for a damaged file
            text = " ".join(str(error.__cause__ or error).replace(folder, tree.location).split())
            raise UserError(
                f"{tree.location} has {TITLES[kind]} annotations that cannot be read ({text}); "
                "export them again"
            ) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Drop the warnings that Datumaro logs for each image, such as that a mask has no instances."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _item(item: "DatasetItem", labels: list[str], splits: dict[str, str]) -> _Item:
    """Return what Datumaro read of one image."""
    media = item.media
    shapes, boxes = [], False
    for annotation in sorted(item.annotations, key=lambda annotation: getattr(annotation, "z_order", 0)):
        label = "defect" if annotation.label is None else labels[annotation.label]
        if is_background(label):
            continue
        if shape := _shape(annotation, label):
            shapes.append(shape)
        boxes = boxes or annotation.type.name == "bbox"
    known = media is not None and media.has_size
    return _Item(
        path=str(getattr(media, "path", None) or item.id).replace("\\", "/"),
        split=splits.get(item.subset, "") or split_of(item.subset),
        size=(media.size[1], media.size[0]) if known else None,
        shapes=tuple(shapes),
        only_boxes=boxes and not shapes,
    )


def _shape(annotation: "Annotation", label: str) -> Shape | None:
    """Return the region of an annotation of Datumaro; None for a box, a line or a label of the image."""
    kind = annotation.type.name
    if kind == "polygon":
        xy = annotation.points
        return Shape(label, "polygon", tuple(zip(xy[::2], xy[1::2], strict=True)))
    if kind == "ellipse":
        left, top, right, bottom = annotation.points
        return Shape(label, "ellipse", ((left, top), (right, bottom)))
    if kind == "mask":
        return Shape(label, "bitmap", ((0, 0),), pack(np.asarray(annotation.image, dtype=bool)))
    return None


def _samples(
    tree: Tree, items: list[_Item], values: dict[str, int]
) -> tuple[list[SourceSample], list[Problem]]:
    names, seen, samples, problems = UniqueNames(), set[str](), [], list[Problem]()
    by_stem = defaultdict[str, list[str]](list)
    for name in filter(is_picture, tree.names):
        if not _is_mask(name):
            by_stem[stem_of(name).lower()].append(name)
    for item in items:
        image = _find_image(item, by_stem[stem_of(item.path).lower()])
        if image in seen:
            problems.append(Problem(image, "is a second time in the annotations"))
        elif not image:
            problems.append(
                Problem(item.path.rpartition("/")[2], "is in the annotations, but not in the source")
            )
        elif item.only_boxes:
            problems.append(Problem(image, "has boxes only; expected polygons or masks"))
        else:
            seen.add(image)
            samples.append(_sample(tree, item, image, names, values))
    return samples, problems


def _sample(tree: Tree, item: _Item, image: str, names: UniqueNames, values: dict[str, int]) -> SourceSample:
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


def _find_image(item: _Item, names: list[str]) -> str:
    """Return the image of the source whose path has most of its last parts in common with the annotation's.

    Where several have equally many, it is the one in a folder of the split; empty if it cannot be told.
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
