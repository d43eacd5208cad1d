"""The formats of annotations that Datumaro reads: how their files are recognised and laid out for it."""

import json
import re
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import unescape
from pathlib import Path, PurePosixPath
from posixpath import normpath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.names import folders_of, split_of, words_of
from tinyunet.data.sources.trees import Tree

TITLES = {
    "coco_instances": "COCO",
    "cvat": "CVAT",
    "datumaro": "Datumaro",
    "label_me": "LabelMe (XML)",
    "voc_segmentation": "Pascal VOC",
}
_FILES_TO_RECOGNISE = 20
_LABEL_0 = re.compile(rb'"id"\s*:\s*0\b')
_OUTSIDE = re.compile(rb'"file_name"\s*:\s*"(?:[/\\]|[A-Za-z]:|[^"]*\.\.[/\\])')
LABEL_MAP = "labelmap.txt"  # the names and colours of the labels of Pascal VOC
_ROOTS = ("SegmentationClass", "ImageSets", LABEL_MAP, "Annotations", "Masks")
_OTHER_COCO = ("captions", "image_info", "labels", "panoptic", "person_keypoints", "stuff")
_MARKS: dict[str, tuple[re.Pattern[bytes], ...]] = {
    "coco_instances": tuple(
        re.compile(rb'"%s"\s*:' % key) for key in (b"images", b"annotations", b"categories")
    ),
    "datumaro": tuple(re.compile(rb'"%s"\s*:' % key) for key in (b"items", b"categories")),
    "cvat": (re.compile(rb"\A[^<]*(?:<\?[^>]*>\s*)?(?:<!--.*?-->\s*)*<annotations\b", re.DOTALL),),
    "label_me": (re.compile(rb"<annotation>"), re.compile(rb"<polygon>|<segm>")),
}


def detect(tree: Tree) -> tuple[str, list[str]]:
    """Return the format and its annotation files; an empty format if there is none."""
    if masks := _in_folder(tree, "SegmentationClass"):
        lists = [name for name in _in_folder(tree, "Segmentation") if name.endswith(".txt")]
        lists = [name for name in lists if PurePosixPath(name).stem != "trainval"] or lists
        return "voc_segmentation", [*masks, *lists, *[n for n in tree.names if n.endswith(LABEL_MAP)]]
    found = defaultdict[str, list[str]](list)
    for extension in (".json", ".xml"):
        files = [name for name in tree.names if name.lower().endswith(extension)]
        for name in files[:_FILES_TO_RECOGNISE]:
            if kind := _kind(tree, name):
                found[kind].append(name)
        if found["label_me"]:
            return "label_me", files + _in_folder(tree, "Masks")
    kind = next((kind for kind in TITLES if found[kind]), "")
    instances = [name for name in found[kind] if PurePosixPath(name).name.startswith("instances")]
    others = [name for name in found[kind] if not PurePosixPath(name).name.startswith(_OTHER_COCO)]
    return kind, instances or others or found[kind]


def _in_folder(tree: Tree, folder: str) -> list[str]:
    """Return the files in or below a folder of this name."""
    return [name for name in tree.names if folder in folders_of(name)]


def _kind(tree: Tree, name: str) -> str:
    try:
        data = tree.read(name)
    except (OSError, UserError):
        return ""
    return next((kind for kind, marks in _MARKS.items() if all(mark.search(data) for mark in marks)), "")


def roots(kind: str, files: Sequence[str]) -> dict[str, list[str]]:
    """Return the annotation files by the folder that Datumaro reads as one data set, with `/` at its end.

    Several folders of Pascal VOC may have files of the same name, and each has its own labels. A list or a
    label map of a folder above belongs to all of them.
    """
    if kind != "voc_segmentation":
        return {"": list(files)}
    places = {name: name.removesuffix(_path_from(name, _ROOTS)) for name in files}
    masks = {place for name, place in places.items() if "SegmentationClass" in folders_of(name)}
    return {
        root: [name for name, place in places.items() if place == root or _is_above(place, root, masks)]
        for root in sorted(masks)
    }


def _is_above(place: str, root: str, masks: set[str]) -> bool:
    return place not in masks and root.startswith(place)


def stage(tree: Tree, kind: str, files: Sequence[str], folder: Path, root: str = "") -> dict[str, str]:
    """Copy the annotation files to where Datumaro expects them, with empty files as images.

    Args:
        tree: The source.
        kind: Key of TITLES.
        files: The annotation files.
        folder: Empty folder.
        root: Folder of the source with the images of Pascal VOC.

    Returns:
        The split of each subset that Datumaro will find; subsets with other names say it by their names.
    """
    splits: dict[str, str] = {}
    for number, name in enumerate(files):
        data, split = tree.read(name).removeprefix(BOM_UTF8), _split_of_path(name)
        subset = f"{split or 'all'}{number}"
        splits[subset] = split
        targets = {
            "coco_instances": f"annotations/instances_{subset}.json",
            "datumaro": f"annotations/{subset}.json",
            "cvat": f"{subset}.xml",
        }
        if kind == "coco_instances":
            data = _with_plain_paths(_with_labels_from_1(data))
        _write(folder, targets.get(kind) or _path_from(name, _ROOTS), data)
        if kind == "cvat":
            for image in re.findall(rb"<image\b[^>]*?\bname=\"([^\"]*)\"", data):
                _write(folder, f"images/{unescape(image.decode('utf-8', 'replace'))}", b"")
    (folder / "images").mkdir(exist_ok=True)
    if kind == "voc_segmentation":
        images = [name for name in _in_folder(tree, "JPEGImages") if name.startswith(root)]
        for name in images:
            _write(folder, _path_from(name, ("JPEGImages",)), b"")
        if not (folder / "ImageSets").exists():
            stems = [PurePosixPath(name).stem for name in images]
            _write(folder, "ImageSets/Segmentation/all.txt", "\n".join(stems).encode())
    return splits


def note_without_image(tree: Tree, files: Sequence[str]) -> tuple[str, ...]:
    """Return a note for each COCO file with annotations of an image that it does not list.

    Datumaro leaves these annotations out without a word.
    """
    notes = []
    for name in files:
        content = json.loads(tree.read(name).removeprefix(BOM_UTF8))
        images = {image.get("id") for image in content.get("images") or []}
        ids = [one.get("image_id") for one in content.get("annotations") or []]
        if without := [number for number in ids if number not in images]:
            notes.append(
                f"annotations of {name} whose image_id is that of no image are not used: {len(without)}, "
                f"such as {without[0]!r}"
            )
    return tuple(notes)


def _with_labels_from_1(data: bytes) -> bytes:
    """Add 1 to the numbers of the labels of a COCO file if one is 0, which Datumaro reads as no label."""
    if not _LABEL_0.search(data):
        return data
    content = json.loads(data)
    categories = content.get("categories") or []
    if not any(category.get("id") == 0 for category in categories):
        return data
    for category in categories:
        category["id"] += 1
    for annotation in content.get("annotations") or []:
        annotation["category_id"] = int(annotation.get("category_id") or 0) + 1
    return json.dumps(content).encode()


def _with_plain_paths(data: bytes) -> bytes:
    """Make the paths of a COCO file relative where one is absolute or has `..`, which Datumaro refuses."""
    if not _OUTSIDE.search(data):
        return data
    content = json.loads(data)
    for image in content.get("images") or []:
        path = re.sub(r"^[A-Za-z]:", "", str(image["file_name"])).replace("\\", "/")
        image["file_name"] = re.sub(r"^(?:/|\.\.(?:/|$))+", "", normpath(path))
    return json.dumps(content).encode()


def _split_of_path(name: str) -> str:
    """Return the split that a word of the file name says, or a folder."""
    path = PurePosixPath(name)
    words = [*words_of(re.sub(r"\d+$", "", path.stem)), *path.parts[-2::-1]]
    return next((split_of(word) for word in words if split_of(word)), "")


def _path_from(name: str, starts: Iterable[str]) -> str:
    """Return the path from the first of these folders on."""
    parts = PurePosixPath(name).parts
    first = next((number for number, part in enumerate(parts) if part in starts), 0)
    return "/".join(parts[first:])


def _write(folder: Path, name: str, data: bytes) -> None:
    target = folder / name
    if ".." not in PurePosixPath(name).parts and not PurePosixPath(name).is_absolute():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
