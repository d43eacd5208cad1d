"""Layout `annotations`: COCO, CVAT, LabelMe's XML, Pascal VOC with masks, Datumaro; also exports of Geti.

Datumaro reads them: https://github.com/open-edge-platform/datumaro. It needs a folder on this machine: the
annotation files are copied there, and empty files take the place of the images.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated import voc
from tinyunet.data.layouts.annotated.formats import (
    LABEL_MAP,
    TITLES,
    detect,
    note_without_image,
    roots,
    stage,
)
from tinyunet.data.layouts.annotated.items import AnnotatedImage, Format, make_listing
from tinyunet.data.layouts.annotated.shapes import Shape, is_background, pack
from tinyunet.data.layouts.base import LayoutOptions, Listing
from tinyunet.data.layouts.names import split_of
from tinyunet.data.sources.trees import Tree

if TYPE_CHECKING:
    from datumaro import Annotation, DatasetItem

NAME = "annotations"
_WITHOUT_AREA = {"bbox": "boxes", "polyline": "lines", "points": "points"}  # types of Datumaro


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
    if kind == "voc_segmentation" and not any(name.endswith(LABEL_MAP) for name in files):
        return voc.list_samples(tree, options, files)
    # Most images of Pascal VOC have boxes only, and are no samples.
    items = _read(tree, kind, files)
    notes = note_without_image(tree, files) if kind == "coco_instances" else ()
    form = Format(NAME, TITLES[kind], files, complete=kind != "voc_segmentation", notes=notes)
    return make_listing(tree, options, form, items)


def _read(tree: Tree, kind: str, files: list[str]) -> list[AnnotatedImage]:
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
    items = []
    for root, own in roots(kind, files).items():
        with TemporaryDirectory() as folder, _without_warnings():
            try:
                splits = stage(tree, kind, own, Path(folder), root)
                dataset = datumaro.Dataset.import_from(folder, kind)
                labels = [str(label.name) for label in dataset.categories()[datumaro.AnnotationType.label]]
                found = [_item(item, labels, splits, kind) for item in dataset]
            except Exception as error:  # the readers of Datumaro raise errors of any type for a damaged file
                text = " ".join(str(error.__cause__ or error).replace(folder, tree.location).split())
                raise UserError(
                    f"{tree.location} has {TITLES[kind]} annotations that cannot be read ({text}); "
                    "export them again"
                ) from error
            items += [replace(item, path=root + item.path.removeprefix(f"{folder}/")) for item in found]
    return items


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Drop the warnings that Datumaro logs for each image, such as that a mask has no instances."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of the logging itself
            yield
    finally:
        logging.disable(before)


def _item(item: "DatasetItem", labels: list[str], splits: dict[str, str], kind: str) -> AnnotatedImage:
    """Return what Datumaro read of one image."""
    media = item.media
    shapes, others, drawn = [], set[str](), set[int]()
    for annotation in sorted(item.annotations, key=lambda annotation: getattr(annotation, "z_order", 0)):
        label = "defect" if annotation.label is None else labels[annotation.label]
        if is_background(label):
            continue
        if shape := _shape(annotation, label):
            shapes.append(shape)
            drawn.add(annotation.id)
        elif kind != "coco_instances" or annotation.id not in drawn:  # COCO has a box for each polygon
            others |= {_WITHOUT_AREA.get(annotation.type.name, "")} - {""}
    known = media is not None and media.has_size
    return AnnotatedImage(
        path=str(getattr(media, "path", None) or item.id).replace("\\", "/"),
        split=splits.get(item.subset, "") or split_of(item.subset),
        size=(media.size[1], media.size[0]) if known else None,
        shapes=tuple(shapes),
        others=" and ".join(sorted(others)),
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
