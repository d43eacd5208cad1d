"""What is known about a source that no layout fits: files that are labels, but not masks or polygons."""

from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts import table
from tinyunet.data.layouts.annotated import label_studio, yolo
from tinyunet.data.layouts.names import folders_of, is_clean, is_picture, suffix_of, words_of
from tinyunet.data.pictures.opening import FORMATS
from tinyunet.data.sources.trees import Tree

_FILES_TO_READ = 5
_MASK_WORDS = {"mask", "masks", "label", "labels", "gt", "truth", "groundtruth", "seg", "segmentation"}
_OTHER_PICTURES = {".ppm", ".pgm", ".pbm", ".jp2", ".jxl", ".heic", ".avif", ".dcm", ".exr", ".tga", ".dng"}
_LABEL_FILES = {".mat": "MATLAB", ".npy": "NumPy", ".npz": "NumPy", ".nii": "NIfTI", ".nii.gz": "NIfTI"}
_LABEL_FILES |= {
    ".parquet": "Parquet",
    ".arrow": "Arrow",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".tfrecord": "TFRecord",
}


def refused_tables(tree: Tree) -> dict[str, str]:
    """Return why each table of images cannot be used; tables that name no pictures are left out."""
    reasons = table.refusals(tree)
    return {name: reason for name, reason in reasons.items() if "has no column image and" not in reason}


def find(tree: Tree) -> str:
    """Return what kind of labels the source has, and why that is not enough; empty if nothing is known."""
    found = [
        *_boxes(tree),
        *_brushes(tree),
        *_other_pictures(tree),
        *list(table.refusals(tree).values())[:2],
        *_other_labels(tree),
        *_unknown(tree),
    ]
    return "; ".join(found[:3] or _no_labels(tree))


def _boxes(tree: Tree) -> list[str]:
    xml = [name for name in tree.names if suffix_of(name) == ".xml"][:_FILES_TO_READ]
    if any(b"<bndbox>" in _read(tree, name) for name in xml):
        return [f"{xml[0]} has boxes only, and masks or polygons are needed"]
    if yolo.has_boxes(tree):
        return ["the text files have boxes only, and polygons are needed"]
    return []


def _brushes(tree: Tree) -> list[str]:
    if not label_studio.has_brush_files(tree):
        return []
    return [
        "masks of Label Studio do not say which image they belong to: put its JSON export and the images "
        "beside them"
    ]


def _other_pictures(tree: Tree) -> list[str]:
    files = [name for name in tree.names if suffix_of(name) in _OTHER_PICTURES]
    if not files:
        return []
    count, verb, them = (
        ("1 picture", "is", "it") if len(files) == 1 else (f"{len(files)} pictures", "are", "them")
    )
    return [f"{count}, such as {files[0]}, {verb} not {FORMATS}; convert {them}"]


def _other_labels(tree: Tree) -> list[str]:
    found = {end: next((n for n in tree.names if n.lower().endswith(end)), "") for end in _LABEL_FILES}
    return [
        f"{name} is a file of {_LABEL_FILES[end]}; save images and masks as PNG"
        for end, name in found.items()
        if name
    ]


def _unknown(tree: Tree) -> list[str]:
    """Return the first annotation file, which is of no known format."""
    files = [name for name in tree.names if suffix_of(name) in (".json", ".xml")]
    shown = [name for name in files[:_FILES_TO_READ] if b"<bndbox>" not in _read(tree, name)]
    return [f"{name} is of no known format of annotations" for name in shown[:1]]


def _no_labels(tree: Tree) -> list[str]:
    """Return that there are clean images only, or images without any name of a mask."""
    pictures = [name for name in tree.names if is_picture(name)]
    if not pictures:
        return []
    if all(any(map(is_clean, folders_of(name))) for name in pictures):
        return [
            "all images are in a folder of clean images; images of defects and their masks are needed too"
        ]
    words = {word for name in pictures for part in PurePosixPath(name).parts for word in words_of(part)}
    return [] if words & _MASK_WORDS else ["there are images, but no file or folder is named after masks"]


def _read(tree: Tree, name: str) -> bytes:
    try:
        return tree.read(name)
    except (OSError, UserError):
        return b""
