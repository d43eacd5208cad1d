"""Every layout from every kind of source: the same twelve images and the same defect."""

import base64
import io
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Services
from tests.services.conftest import upload
from tinyunet.core.documents.raw import RawManifest
from tinyunet.data.ingest import ingest
from tinyunet.data.layouts.annotated.shapes import pack
from tinyunet.data.layouts.find import LAYOUTS

Files = dict[str, bytes]

WIDTH = HEIGHT = 20  # DAGM2007 has square images
LEFT, TOP, RIGHT, BOTTOM = 4, 3, 12, 9  # the defect, without its last column and row
CORNERS = [[LEFT, TOP], [RIGHT - 1, TOP], [RIGHT - 1, BOTTOM - 1], [LEFT, BOTTOM - 1]]
FLAT = [value for corner in CORNERS for value in corner]
DEFECTIVE = [f"d{n}" for n in range(6)]
CLEAN = [f"c{n}" for n in range(6)]
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[TOP:BOTTOM, LEFT:RIGHT] = 255


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo(name: str) -> bytes:
    rng = np.random.default_rng(list(name.encode()))
    return png(rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8))


def photos(*folder: str, names: list[str] = CLEAN + DEFECTIVE) -> Files:
    return {"/".join((*folder, f"{name}.png")): photo(name) for name in names}


def masks(pattern: str) -> Files:
    return {pattern.format(name): png(MASK) for name in DEFECTIVE}


def text(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def dagm() -> Files:
    files: Files = {}
    for split, names in (("Train", CLEAN[:3] + DEFECTIVE[:3]), ("Test", CLEAN[3:] + DEFECTIVE[3:])):
        lines = ["1"]
        for n, name in enumerate(names, start=1):
            files[f"Class1/{split}/{n:04}.PNG"] = photo(name)
            label = f"{n:04}_label.PNG" if name in DEFECTIVE else "0"
            lines.append(f"{n}\t{int(name in DEFECTIVE)}\t{n:04}.PNG\t0\t{label}")
            if name in DEFECTIVE:
                files[f"Class1/{split}/Label/{label}"] = png(MASK)
        files[f"Class1/{split}/Label/Labels.txt"] = text("\r\n".join(lines) + "\r\n")
    return files


def dagm_development() -> Files:
    middle = ((LEFT + RIGHT - 1) / 2, (TOP + BOTTOM - 1) / 2)
    line = f"{(RIGHT - LEFT) / 2}\t{(BOTTOM - TOP) / 2}\t0\t{middle[0]}\t{middle[1]}"
    lines = [f"{n}\t{line}" for n in range(1, 7)]
    files = {f"Class1/{n}.png": photo(name) for n, name in enumerate(CLEAN, start=1)}
    files |= {f"Class1_def/{n}.png": photo(name) for n, name in enumerate(DEFECTIVE, start=1)}
    return files | {"Class1_def/labels.txt": text("\r\n".join(lines) + "\r\n")}


def mvtec() -> Files:
    files = photos("train", "good", names=CLEAN[:4]) | photos("test", "good", names=CLEAN[4:])
    return files | photos("test", "dent", names=DEFECTIVE) | masks("ground_truth/dent/{}_mask.png")


def table() -> Files:
    rows = [f"p/{name}.png,{f'm/{name}.png' if name in DEFECTIVE else ''}" for name in CLEAN + DEFECTIVE]
    return photos("p") | masks("m/{}.png") | {"labels.csv": text("\n".join(["image,mask", *rows]))}


def labelme() -> Files:
    def content(name: str) -> dict[str, Any]:
        square = {"label": "dent", "shape_type": "polygon", "points": CORNERS}
        size = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
        shapes = [square] if name in DEFECTIVE else []
        return {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", **size}

    return photos() | {f"{name}.json": text(content(name)) for name in CLEAN + DEFECTIVE}


def coco() -> Files:
    names = CLEAN + DEFECTIVE
    files = [{"id": n, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT} for n, name in
             enumerate(names, start=1)]  # fmt: skip
    box = [LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP]
    regions = [
        {
            "id": n,
            "image_id": n,
            "category_id": 1,
            "segmentation": [FLAT],
            "bbox": box,
            "area": 48,
            "iscrowd": 0,
        }
        for n, name in enumerate(names, start=1)
        if name in DEFECTIVE
    ]
    content = {"images": files, "annotations": regions, "categories": [{"id": 1, "name": "dent"}]}
    return photos("images") | {"annotations/instances.json": text(content)}


def yolo() -> Files:
    numbers = " ".join(str(x / WIDTH) + " " + str(y / HEIGHT) for x, y in CORNERS)
    labels = {f"labels/{name}.txt": text(f"0 {numbers}\n" if name in DEFECTIVE else "") for name in
              CLEAN + DEFECTIVE}  # fmt: skip
    return photos("images") | labels | {"data.yaml": text("nc: 1\nnames: [dent]\n")}


def rle() -> Files:
    runs = " ".join(f"{x * HEIGHT + TOP + 1} {BOTTOM - TOP}" for x in range(LEFT, RIGHT))
    rows = [f"{name}.png,{runs if name in DEFECTIVE else ''}" for name in CLEAN + DEFECTIVE]
    return photos("train_images") | {"train.csv": text("\n".join(["ImageId,EncodedPixels", *rows]) + "\n")}


def label_studio() -> Files:
    points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in CORNERS]
    value = {"points": points, "polygonlabels": ["dent"]}
    region = {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": value,
        "from_name": "l",
        "type": "x",
    }
    tasks = []
    for n, name in enumerate(CLEAN + DEFECTIVE):
        done = {"id": n, "was_cancelled": False, "result": [region] if name in DEFECTIVE else []}
        tasks.append({"id": n, "annotations": [done], "data": {"image": f"/data/upload/1/{name}.png"}})
    return photos("images") | {"project.json": text(tasks)}


def supervisely() -> Files:
    data = base64.b64encode(zlib.compress(pack(MASK[TOP:BOTTOM, LEFT:RIGHT] > 0))).decode()
    bitmap = {"classTitle": "dent", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [LEFT, TOP]}}
    files = photos("set", "img") | {"meta.json": text({"classes": []})}
    for name in CLEAN + DEFECTIVE:
        objects = [bitmap] if name in DEFECTIVE else []
        content = {"size": {"height": HEIGHT, "width": WIDTH}, "tags": [], "objects": objects}
        files[f"set/ann/{name}.png.json"] = text(content)
    return files


def via() -> Files:
    shape = {
        "name": "polygon",
        "all_points_x": [x for x, _ in CORNERS],
        "all_points_y": [y for _, y in CORNERS],
    }
    region = {"shape_attributes": shape, "region_attributes": {"type": "dent"}}
    entries = {
        name: {
            "filename": f"{name}.png",
            "size": 1,
            "regions": [region] if name in DEFECTIVE else [],
            "file_attributes": {},
        }
        for name in CLEAN + DEFECTIVE
    }
    return photos() | {"via.json": text(entries)}


SETS: dict[str, Callable[[], Files]] = {
    "dagm": dagm,
    "dagm-development": dagm_development,
    "pairs": lambda: (
        photos("images") | masks("masks/{}.png") | {f"masks/{n}.png": png(MASK * 0) for n in CLEAN}
    ),
    "beside": lambda: (
        photos("dent", names=DEFECTIVE) | photos("good", names=CLEAN) | masks("dent/{}_mask.png")
    ),
    "mvtec": mvtec,
    "table": table,
    "labelme": labelme,
    "annotations": coco,
    "yolo": yolo,
    "rle": rle,
    "label-studio": label_studio,
    "supervisely": supervisely,
    "via": via,
}


@pytest.fixture(scope="module")
def store(services: Services) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.env.items():
            patch.setenv(name, value)
        yield


def test_the_table_has_every_layout() -> None:
    assert set(SETS) == {layout.NAME for layout in LAYOUTS}


@pytest.mark.parametrize("layout", SETS)
def test_a_layout_gives_the_same_data_set_from_a_folder_a_zip_and_s3(
    layout: str, store: None, tmp_path: Path
) -> None:
    folder = tmp_path / "part-7"
    for name, data in SETS[layout]().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    prefix = f"s3://tinyunet/layouts/{layout}/part-7"
    upload(folder, prefix)
    archive = shutil.make_archive(str(folder), "zip", tmp_path, "part-7")
    manifests = [
        ingest(source, tmp_path / f"raw{n}") for n, source in enumerate((str(folder), archive, prefix))
    ]
    first = manifests[0]
    assert first.layout == layout
    assert len(first.files) == 12
    assert {manifest.digest for manifest in manifests} == {first.digest}
    assert {manifest.dataset for manifest in manifests} == {first.dataset}
    assert [file.defective for file in first.files].count(True) == 6
    assert_masks_are_the_defect(tmp_path / "raw0", first, ellipse=layout == "dagm-development")


def assert_masks_are_the_defect(raw: Path, manifest: RawManifest, *, ellipse: bool) -> None:
    for file in manifest.files:
        if file.mask:
            with Image.open(raw / file.mask) as image:
                pixels = np.asarray(image) > 0
            missing, more = (MASK > 0) & ~pixels, pixels & ~(MASK > 0)
            assert (missing.sum() <= (16 if ellipse else 0), more.sum()) == (True, 0)
