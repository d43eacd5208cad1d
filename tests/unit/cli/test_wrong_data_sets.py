"""Wrong data sets of a user: each is one line with exit code 2, and nothing is left behind."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinyunet.cli.main import main

Files = dict[str, bytes]
NAMES = [f"p{n:02}" for n in range(12)]  # every second image is defective


def picture(pixels: Any, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, form, **options)
    return buffer.getvalue()


def image(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape or (16, 16)).astype(np.uint8)


def mask(value: int, side: int = 16) -> np.ndarray:
    pixels = np.zeros((side, side), np.uint8)
    pixels[2:8, 3:9] = value
    return pixels


def images(pattern: str) -> Files:
    return {pattern.format(name): picture(image(n)) for n, name in enumerate(NAMES)}


def masks(pattern: str, value: int = 255) -> Files:
    return {pattern.format(name): picture(mask(n % 2 * value)) for n, name in enumerate(NAMES)}


def text(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


PAIRS = images("images/{}.png") | masks("masks/{}.png")
DEFECT = "p01"
IMAGE, MASK = f"images/{DEFECT}.png", f"masks/{DEFECT}.png"
SHAPE = {"label": "pit", "shape_type": "polygon", "points": [[1, 1], [9, 1], [9, 9]]}
MVTEC = {f"nut/{name}": data for name, data in images("train/good/{}.png").items()}
PAGE = Image.fromarray(image(2))
COCO = {"images": [{"id": 1, "file_name": "p00.png", "width": 16, "height": 16}], "categories": []}
NO_PAIR, AS_PAIRS = ("--images", "images/*.png"), ("--layout", "pairs")
BMP = picture(image(1), "BMP")


def labelme(**changes: Any) -> Files:
    content = {"version": "5", "shapes": [SHAPE]}
    files = {f"{name}.json": text(content | {"imagePath": f"{name}.png"}) for name in NAMES}
    return images("{}.png") | files | {"p01.json": text(content | {"imagePath": "p01.png"} | changes)}


def table(*rows: str, head: str = "image,mask") -> Files:
    return PAIRS | {"labels.csv": text("\n".join([head, *rows]))}


def rows() -> list[str]:
    return [f"images/{name}.png,{f'masks/{name}.png' if n % 2 else ''}" for n, name in enumerate(NAMES)]


def without(*names: str, files: Files = PAIRS) -> Files:
    return {name: data for name, data in files.items() if name not in names}


def zipped(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


# Case: the content of a file that should be an image, and words of the message.
NO_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "truncated image": (PAIRS[IMAGE][:99], "is truncated or damaged"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC"),
    "PDF": (b"%PDF-1.7", "is a PDF"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "pages": (picture(image(1), "TIFF", save_all=True, append_images=[PAGE]), "holds 2 pages"),
    "floating point": (picture(image(1).astype(np.float32), "TIFF"), "is floating point"),
    "other bits": (picture(image(1).astype(np.uint16)), "is 16-bit grey, but most images have 8"),
    "huge": (BMP[:18] + b"\0\0\2\0" * 2 + BMP[26:], "has 131072×131072 pixels"),
}
# Case: the files of the folder `parts` (or of one file beside it), the options, and words of the message.
CASES: dict[str, tuple[Files, tuple[str, ...], str]] = {
    "nothing": ({"readme.txt": b"x"}, (), "has no known layout"),
    "images without masks": (images("{}.png"), (), "has no known layout"),
    "masks alone": (masks("masks/{}.png"), (), "named after masks; their images are needed too"),
    "names that differ": (images("images/{}.png") | masks("masks/x{}y.png"), (), "how they belong together"),
    "two layouts": (
        PAIRS | images("other/{}.png") | masks("other/{}_mask.png"), (), "fits the layouts pairs and beside"
    ),
    "unknown layout": (PAIRS, ("--layout", "folders"), "--layout is 'folders'; expected one of dagm"),
    "another layout": (PAIRS, ("--layout", "mvtec"), "train/good"),
    "one pattern": (PAIRS, NO_PAIR, "--masks is missing"),
    "pattern without stem": (PAIRS, (*NO_PAIR, "--masks", "masks/a.png"), "without {stem}"),
    "pattern of nothing": (
        PAIRS, ("--images", "foto/*.png", "--masks", "masks/{stem}.png"), "'foto/*.png', but no picture"
    ),
    "pattern of no mask": (PAIRS, (*NO_PAIR, "--masks", "gt/{stem}.png"), "'gt/{stem}.png', but"),
    "pattern outside": (PAIRS, (*NO_PAIR, "--masks", "../{stem}.png"), "a path inside the source"),
    "category of none": (PAIRS, ("--category", "bottle"), "has no categories (layout pairs)"),
    "wrong split": (PAIRS, ("--split", "80/30/10"), "split is '80/30/10'"),
    "wrong channels": (PAIRS, ("--channels", "2"), "channels is '2'; expected one of auto, 1, 3"),
    "wrong name": (PAIRS, ("--name", "Part 7"), "name is 'Part 7'; expected lower-case"),
    "missing mask": (without(MASK), (), f"{IMAGE}: is an image without a mask"),
    "missing image": (without(IMAGE), (), f"{MASK}: is a mask without an image"),
    "four missing masks": (
        without(*(f"masks/p0{n}.png" for n in range(4))), (),
        "has 4 problems: images/p00.png, images/p01.png, images/p02.png and 1 more: is an image without"
    ),
    "five missing images": (
        without(*(f"images/p0{n}.png" for n in range(5))), (),
        "masks/p02.png and 2 more: is a mask without an image; correct the files"
    ),
    "second mask": (PAIRS | {f"masks/{DEFECT}.bmp": picture(mask(255), "BMP")}, AS_PAIRS, "is a second mask"),
    "second image": (PAIRS | {f"images/{DEFECT}.bmp": BMP}, AS_PAIRS, "is a second image"),
    "size": (PAIRS | {MASK: picture(mask(255, 20))}, (), f"{MASK}: is 20×20, but its image is 16×16"),
    "truncated mask": (PAIRS | {MASK: PAIRS[MASK][:60]}, (), f"{MASK}: is truncated or damaged"),
    "masks of photographs": (
        PAIRS | {f"masks/{name}.png": picture(image(n, 16, 16, 3)) for n, name in enumerate(NAMES)}, (),
        "expected one per defect type, 64 at most",
    ),
    "a colour JPEG as a mask": (
        PAIRS | {MASK: picture(np.dstack([mask(255), mask(0), mask(0)]), "JPEG")}, (), "save masks as PNG"
    ),
    "contradiction": (
        PAIRS | {"images/x.png": PAIRS[IMAGE], "masks/x.png": picture(mask(0))}, (), "only one of them can be"
    ),
    "leak": (
        {f"{split}/{name}": data for split in ("train", "test") for name, data in PAIRS.items()}, (),
        "of another split",
    ),
    "no defect": (images("images/{}.png") | masks("masks/{}.png", 0), (), "has no defective image among 12"),
    "one defect": (
        PAIRS | {f"masks/{name}.png": picture(mask(0)) for name in NAMES if name != DEFECT}, (),
        "has only 1 defective image among 12; 20 defective images",
    ),
    "one group": (table(*(f"{row},g" for row in rows()), head="image,mask,group"), (), "give more groups"),
    "table of other images": (table("x/a.png,x/b.png"), ("--layout", "table"), "no table that names"),
    "row without file": (table(*rows(), "images/q.png,"), (), "the image 'images/q.png' does not exist"),
    "row twice": (table(*rows(), rows()[0]), (), "images/p00.png is listed a second time"),
    "row of a wrong split": (
        table(*(f"{row},nowhere" for row in rows()), head="image,mask,split"), (), "the split is 'nowhere'"
    ),
    "JSON lines": (
        PAIRS | {"t.jsonl": text('{"image": "images/p00.png", "mask": ""}\n{"image": ')},
        ("--layout", "table"), "t.jsonl: line 2 is not JSON",
    ),
    "categories": (
        MVTEC | {name.replace("nut", "bolt"): data for name, data in MVTEC.items()},
        ("--layout", "mvtec", "--category", "screw"), "category is 'screw', but",
    ),
    "polygon of two points": (labelme(shapes=[SHAPE | {"points": [[1, 1], [2, 2]]}]), (), "with 2 points"),
    "line": (labelme(shapes=[SHAPE | {"shape_type": "line"}]), (), "has a line with 3 points"),
    "LabelMe twice": (labelme(imagePath="q.png") | {"q.json": labelme()["p01.json"]}, (), "is a second"),
    "damaged LabelMe": (labelme() | {"p01.json": labelme()["p01.json"][:-9]}, (), "p01.json: is not JSON"),
    "damaged COCO": (images("images/{}.png") | {"a.json": text(COCO)[:-1]}, (), "a.json is of no known"),
    "COCO of other images": (
        images("images/{}.png") | {"a.json": text(COCO | {"annotations": [], "images": []})}, (),
        "of no image in it",
    ),
    "YOLO with boxes": (
        images("images/{}.png") | {f"labels/{name}.txt": b"0 .5 .5 .2 .2\n" for name in NAMES}, (), "boxes"
    ),
    "YOLO with a word": (
        images("images/{}.png")
        | {f"labels/{name}.txt": b"0 .1 .1 .5 .1 .5 .5\n" for name in NAMES[1:]}
        | {"labels/p00.txt": b"0 .1 .1 .5 .1 .5 x\n"}, (), "p00.txt: line 1 is",
    ),
    "odd runs": (images("{}.png") | {"t.csv": text("ImageId,EncodedPixels\np01.png,1 2 3\n")}, (), "holds 3"),
    "far runs": (images("{}.png") | {"t.csv": text("ImageId,EncodedPixels\np01.png,250 9\n")}, (), "outside"),
    "no such folder": ({}, (), "does not exist"),
    **{name: (PAIRS | {IMAGE: data}, (), f"{IMAGE}: {words}") for name, (data, words) in NO_IMAGES.items()},
}  # fmt: skip
ONE_FILE: dict[str, tuple[str, bytes, str]] = {
    "a picture": ("parts.png", PAIRS[IMAGE], "parts.png is a file, but not a .zip or .tar"),
    "no zip": ("parts.zip", b"no archive", "is not a valid .zip"),
    "no tar": ("parts.tar.gz", b"no archive", "parts.tar.gz"),
    "7z": ("parts.7z", b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
    "empty zip": ("parts.zip", zipped({}), "holds no files"),
    "path outside": ("parts.zip", zipped({"../" + name: data for name, data in PAIRS.items()}), ".."),
    "truncated zip": ("parts.zip", zipped(PAIRS)[:-200], "is not a valid .zip"),
}


def refuse(source: Path, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that `ingest` refuses a source in one line and leaves no files."""
    folder = source.parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(["ingest", str(source), "--out", str(folder / "new" / "raw"), *options]) == 2
    errors = capsys.readouterr().err
    (message,) = (line for line in errors.splitlines() if line.startswith("tinyunet: error: "))
    assert words in message
    assert errors.splitlines()[-1] == message
    assert "Traceback" not in errors
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "in"))


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_folder_is_one_line_with_exit_code_2_and_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, options, words = CASES[case]
    for name, data in files.items():
        path = tmp_path / "in" / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    refuse(tmp_path / "in" / "parts", options, words, capsys)


@pytest.mark.parametrize("case", ONE_FILE)
def test_a_wrong_file_is_one_line_with_exit_code_2_and_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, data, words = ONE_FILE[case]
    (tmp_path / "in" / name).write_bytes(data)
    refuse(tmp_path / "in" / name, (), words, capsys)


def test_the_same_folder_without_a_fault_is_accepted_and_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in PAIRS.items():
        path = tmp_path / "in" / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert main(["ingest", str(tmp_path / "in" / "parts"), "--out", str(tmp_path / "raw")]) == 0
    found = capsys.readouterr().err.splitlines()[0]
    assert found == f"{tmp_path}/in/parts: images/ beside masks/: 12 images, 12 masks"
