"""Layout `mvtec`: MVTec AD and data sets of its form: `train/good`, `test/<type>`, `ground_truth/<type>`.

Two of MVTec's other data sets differ in the last folders. MVTec LOCO AD has a folder of masks for each image,
`ground_truth/<type>/000/000.png`. MVTec 3D-AD has `test/<type>/rgb/000.png` and `test/<type>/gt/000.png`; its
heights, in `xyz`, are not used.

Layouts: P. Bergmann, M. Fauser, D. Sattlegger, C. Steger, "MVTec AD – A Comprehensive Real-World Dataset for
Unsupervised Anomaly Detection", CVPR 2019, doi:10.1109/CVPR.2019.00982; P. Bergmann et al., "Beyond Dents and
Scratches: Logical Constraints in Unsupervised Anomaly Detection and Localization", IJCV 2022,
doi:10.1007/s11263-022-01578-9; P. Bergmann, X. Jin, D. Sattlegger, C. Steger, "The MVTec 3D-AD Dataset for
Unsupervised 3D Anomaly Detection and Localization", VISAPP 2022, doi:10.5220/0010865000003124.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts import several
from tinyunet.data.layouts.base import (
    RESPLIT_NOTE,
    LayoutOptions,
    Listing,
    Problem,
    SourceSample,
    require_category,
)
from tinyunet.data.layouts.matching import Picture, count_text, sort_samples, source_file
from tinyunet.data.layouts.names import (
    UniqueNames,
    is_clean,
    is_picture,
    mask_stem,
    sample_name,
    split_of,
    stem_of,
    words_of,
)
from tinyunet.data.sources.trees import Tree

NAME = "mvtec"


@dataclass(frozen=True)
class _File:
    """A picture: `[folder/]<part>/<kind>/<stem>`; part is `train`, `validation`, `test` or `ground_truth`.

    `several` says that it is one of the masks of its image, which have a folder of their own.
    """

    name: str
    folder: str
    part: str
    kind: str
    stem: str
    several: bool = False


def recognise(tree: Tree) -> bool:
    """Return whether there are clean images in `train/good`, images in `test` and masks in `ground_truth`."""
    return bool(_roots(tree))


def categories(tree: Tree) -> tuple[str, ...]:
    """Return the names of the folders that hold `train`, `test` and `ground_truth`, sorted."""
    return tuple(sorted(PurePosixPath(root).name for root in _roots(tree) if root))


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples of one category.

    Raises:
        UserError: if the category does not exist, or several do and none is given.
    """
    roots = _roots(tree)
    if not roots:
        raise UserError(
            f"{tree.location} has no folders train/good, test/<type> and ground_truth/<type>; expected the "
            "layout of MVTec AD"
        )
    category = require_category(tree.location, options.category, categories(tree))
    folder = next((root for root in roots if PurePosixPath(root).name == category), roots[0])
    files = [file for file in _files(tree) if file.folder == folder]
    samples, problems = _pair(tree, files)
    samples, type_names = _join_masks(tree, files, samples)
    resplit = all(is_clean(file.kind) for file in files if file.part == "train")
    if resplit:
        samples = [replace(sample, split="") for sample in samples]
    used = {file.name for file in files}
    inside = f"{folder}/" if folder else ""
    return Listing(
        layout=NAME,
        found=f"MVTec AD{category and f', category {category}'}: {count_text(samples)}",
        category=category,
        samples=sort_samples(samples),
        problems=tuple(problems),
        notes=(RESPLIT_NOTE,) if resplit else (),
        ignored=tuple(name for name in tree.names if name.startswith(inside) and name not in used),
        type_names=type_names,
    )


def _roots(tree: Tree) -> list[str]:
    """Return the folders that hold `train` with clean images, `test` and `ground_truth`, sorted."""
    seen: dict[str, set[str]] = {}
    for file in _files(tree):
        if file.part != "train" or is_clean(file.kind):
            seen.setdefault(file.folder, set()).add(file.part)
    return sorted(folder for folder, parts in seen.items() if parts >= {"train", "test", "ground_truth"})


def _files(tree: Tree) -> list[_File]:
    """Return the pictures two folders below a root, `train/good/000.png`, or three, see the module."""
    found = []
    for name in tree.names:
        parts = name.split("/")
        if not is_picture(name):
            continue
        if len(parts) >= 3 and (part := _part(parts[-3])):
            found.append(_File(name, "/".join(parts[:-3]), part, parts[-2], stem_of(name)))
        elif len(parts) >= 4 and (part := _part(parts[-4])):
            found += _below_kind(name, part, parts)
    return found


def _part(folder: str) -> str:
    words = "_".join(words_of(folder))
    return "ground_truth" if words in ("ground_truth", "groundtruth") else split_of(folder)


def _below_kind(name: str, part: str, parts: list[str]) -> list[_File]:
    """Return the picture in a folder below its kind, if it is one of MVTec LOCO AD or MVTec 3D-AD."""
    folder, kind, last = "/".join(parts[:-4]), parts[-3], parts[-2].lower()
    if part == "ground_truth":
        return [_File(name, folder, part, kind, parts[-2], several=True)]
    if last == "rgb":
        return [_File(name, folder, part, kind, stem_of(name))]
    if last == "gt" and not is_clean(kind):
        return [_File(name, folder, "ground_truth", kind, stem_of(name))]
    return []


def _pair(tree: Tree, files: list[_File]) -> tuple[list[SourceSample], list[Problem]]:
    """Return the samples of one category; images of `good` have no mask."""
    masks = {
        (file.kind.lower(), stem.lower()): file
        for file in files
        if file.part == "ground_truth"
        for stem in (file.stem, mask_stem(file.stem))
        if stem
    }
    names, samples, problems, used = UniqueNames(), [], list[Problem](), set[str]()
    for file in sorted(
        (file for file in files if file.part != "ground_truth"), key=lambda file: file.part == "train"
    ):
        mask = masks.get((file.kind.lower(), file.stem.lower()))
        clean = is_clean(file.kind)
        if mask is None and not clean:
            expected = f"ground_truth/{file.kind}/{file.stem}_mask.png"
            problems.append(Problem(file.name, f"is an image without a mask; expected {expected}"))
            continue
        if mask:
            used.add(mask.name)
        start = [] if file.part == "test" else [file.part]
        sample = SourceSample(
            name=names.add("", sample_name([*start, file.kind, file.stem])),
            image=source_file(tree, file.name),
            mask=source_file(tree, mask.name) if mask else None,
            split=file.part,
            defect_type="" if clean else file.kind,
            defective=None if mask else False,
        )
        samples.append(sample)
    unused = sorted({file.name for file in masks.values()} - used)
    return samples, problems + [Problem(name, "is a mask without an image") for name in unused]


def _join_masks(
    tree: Tree, files: list[_File], samples: list[SourceSample]
) -> tuple[list[SourceSample], dict[int, str]]:
    """Return the samples with all masks of their images in one, if images have several, and the types."""
    if not any(file.several for file in files):
        return samples, {}
    masks = defaultdict[tuple[str, str], list[Picture]](list)
    for file in files:
        if file.part == "ground_truth":
            mask = Picture(file.name, file.stem, "", (file.kind,))
            for stem in {file.stem, "" if file.several else mask_stem(file.stem)} - {""}:
                masks[file.kind.lower(), stem.lower()].append(mask)
    images = {file.name: Picture(file.name, file.stem) for file in files if file.part != "ground_truth"}
    keys = {file.name: (file.kind.lower(), file.stem.lower()) for file in files if file.name in images}
    groups = {name: masks[key] for name, key in keys.items() if key in masks}
    return several.join_masks(tree, samples, groups, images.values())
