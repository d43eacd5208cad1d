"""What is known about a source that no layout fits: files that are labels, but not masks or polygons."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE

from tinyunet.core.errors import UserError
from tinyunet.data.layouts import table
from tinyunet.data.layouts.annotated import label_studio, yolo
from tinyunet.data.layouts.names import folders_of, is_clean, is_picture, stem_of, suffix_of, words_of
from tinyunet.data.layouts.roles import role_of
from tinyunet.data.pictures.opening import FORMATS
from tinyunet.data.sources.trees import Tree

_FILES_TO_READ = 5
_MASK_WORDS = {"mask", "masks", "label", "labels", "gt", "truth", "groundtruth", "seg", "segmentation"}
_MASK_WORDS |= {"maske", "masken"}
_OTHER_PICTURES = {".ppm", ".pgm", ".pbm", ".jp2", ".jxl", ".heic", ".avif", ".dcm", ".exr", ".tga", ".dng"}
_OTHER_PICTURES |= {".svg", ".psd"}
_LABEL_FILES = {".mat": "MATLAB", ".npy": "NumPy", ".npz": "NumPy", ".nii": "NIfTI", ".nii.gz": "NIfTI"}
_SPREADSHEETS = {".xlsx", ".xls", ".ods", ".numbers"}
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
        *_spreadsheets(tree),
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


def _spreadsheets(tree: Tree) -> list[str]:
    """Return the first spreadsheet, or text in UTF-16 with tabs, which is a table as Excel saves it."""
    texts = [name for name in tree.names if suffix_of(name) == ".txt"][:_FILES_TO_READ]
    found = [name for name in tree.names if suffix_of(name) in _SPREADSHEETS]
    found += [name for name in texts if _is_wide_table(_read(tree, name))]
    return [f"{name} is a table of a spreadsheet program; save it as CSV" for name in found[:1]]


def _is_wide_table(data: bytes) -> bool:
    return data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) and b"\t" in data


def _unknown(tree: Tree) -> list[str]:
    """Return the first annotation file, also one named after an image, which is of no known format."""
    stems = {stem_of(name) for name in tree.names if is_picture(name)}
    files = [name for name in tree.names if suffix_of(name) in (".json", ".xml")]
    texts = [name for name in tree.names if suffix_of(name) == ".txt" and stem_of(name) in stems]
    if not yolo.has_boxes(tree):
        files += [name for name in texts[:_FILES_TO_READ] if _read(tree, name).strip()]
    shown = [name for name in files[:_FILES_TO_READ] if b"<bndbox>" not in _read(tree, name)]
    return [f"{name} is of no known format of annotations" for name in shown[:1]]


def _no_labels(tree: Tree) -> list[str]:
    """Return that there are clean images only, masks only, or images without any name of a mask."""
    pictures = [name for name in tree.names if is_picture(name)]
    if not pictures:
        return []
    if all(any(map(is_clean, folders_of(name))) for name in pictures):
        return [
            "all images are in a folder of clean images; images of defects and their masks are needed too"
        ]
    named = [name for name in pictures if _MASK_WORDS & {*words_of(name)}]
    if len(named) == len(pictures):
        if any("image" in map(role_of, folders_of(name)) for name in named):
            return []  # a folder above all of them has such a word: my-segmentation/images
        return ["all files or their folders are named after masks; their images are needed too"]
    return [] if named else ["there are images, but no file or folder is named after masks"]


def _read(tree: Tree, name: str) -> bytes:
    try:
        return tree.read(name)
    except (OSError, UserError):
        return b""
