"""The formats of annotations that Datumaro reads: how their files are recognised and laid out for it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from html import unescape
from pathlib import Path, PurePosixPath

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
_ROOTS = ("SegmentationClass", "ImageSets", "labelmap.txt", "Annotations", "Masks")
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
        return "voc_segmentation", [*masks, *lists, *[n for n in tree.names if n.endswith("labelmap.txt")]]
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


def stage(tree: Tree, kind: str, files: list[str], folder: Path) -> dict[str, str]:
    """Copy the annotation files to where Datumaro expects them, with empty files as images.

    Returns:
        The split of each subset that Datumaro will find; subsets with other names say it by their names.
    """
    splits: dict[str, str] = {}
    for number, name in enumerate(files):
        data, split = tree.read(name), _split_of_path(name)
        subset = f"{split or 'all'}{number}"
        splits[subset] = split
        targets = {
            "coco_instances": f"annotations/instances_{subset}.json",
            "datumaro": f"annotations/{subset}.json",
            "cvat": f"{subset}.xml",
        }
        _write(folder, targets.get(kind) or _path_from(name, _ROOTS), data)
        if kind == "cvat":
            for image in re.findall(rb"<image\b[^>]*?\bname=\"([^\"]*)\"", data):
                _write(folder, f"images/{unescape(image.decode('utf-8', 'replace'))}", b"")
    (folder / "images").mkdir(exist_ok=True)
    if kind == "voc_segmentation":
        for name in _in_folder(tree, "JPEGImages"):
            _write(folder, _path_from(name, ("JPEGImages",)), b"")
        if not (folder / "ImageSets").exists():
            stems = [PurePosixPath(name).stem for name in _in_folder(tree, "JPEGImages")]
            _write(folder, "ImageSets/Segmentation/all.txt", "\n".join(stems).encode())
    return splits


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
