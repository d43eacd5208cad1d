"""Prediction of masks: a model applied to any number of image files in constant memory."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinyunet.core.console import cores, say, track
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder
from tinyunet.data.pixels import CAMERA_FORMATS, read_picture
from tinyunet.evaluation.overlays import highlight
from tinyunet.serving.loading import load_serving

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")  # of CAMERA_FORMATS
IMAGES = f"{', '.join(CAMERA_FORMATS[:-1])} or {CAMERA_FORMATS[-1]}"
BATCH = 8


@dataclass(frozen=True)
class InputImage:
    """An image to predict.

    Attributes:
        name: File name without extension, made unique among the inputs.
        file: The file that the image was read from.
        grey: uint8 [H, W].
    """

    name: str
    file: Path
    grey: NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """A row of predictions.csv; the names of the fields are the columns.

    Attributes:
        name: Name of the image.
        score: Image-level score, a logit, with six digits.
        defective: 1 if the model classifies the image as defective, else 0.
        area: Number of defective pixels.
        file: The file that the image was read from.
    """

    name: str
    score: str
    defective: int
    area: int
    file: Path


def predict(model: str | Path, inputs: Sequence[Path], out: Path) -> tuple[int, int]:
    """Write `<name>_mask.png`, `<name>_overlay.png` and a row of predictions.csv (area in pixels) per image.

    Images are processed in batches: memory does not grow with their number. A file that is not an 8-bit grey
    image (PNG, BMP, TIFF, JPEG) is reported on stderr and skipped.

    Args:
        model: As for `load_serving`.
        inputs: Image files, and folders of image files.
        out: Folder to write.

    Returns:
        The number of predicted images, and the number of defective ones among them.

    Raises:
        UserError: if an input or the model is missing; at the end, if files were skipped.
    """
    files = _unique_names(_list_files(inputs, out))
    serving = load_serving(model)
    skipped: list[Path] = []
    defective = 0
    with (
        atomic_folder(out, marker="predictions.csv") as part,
        (part / "predictions.csv").open("w", newline="") as csv_file,
        ThreadPoolExecutor(cores()) as pool,
    ):
        table = csv.writer(csv_file)
        table.writerow(field.name for field in fields(Prediction))
        images = _read(track(files.items(), "predicting", total=len(files)), skipped, pool)
        for batch in _batches(images):
            rows = _predict_batch(serving, batch, part, pool)
            table.writerows(astuple(row) for row in rows)
            defective += sum(row.defective for row in rows)
        if len(skipped) == len(files):
            raise UserError(f"none of {len(files)} files is an 8-bit grey {IMAGES}; nothing was written")
    if skipped:
        raise UserError(
            f"{len(skipped)} of {len(files)} files were skipped (named above); the predictions of the others "
            f"are in {out}"
        )
    return len(files), defective


def _list_files(inputs: Sequence[Path], out: Path) -> list[Path]:
    """Return the input files, with every folder replaced by the images in it."""
    files: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist; expected an image or a folder of images")
        images = sorted(_images(path)) if path.is_dir() else [path]
        if not images:
            raise UserError(f"{path} holds no {IMAGES} file; expected 8-bit grey images")
        files += images
    for path in files:
        if path.resolve().is_relative_to(out.resolve()):
            raise UserError(f"{path} lies in {out}, which is replaced; choose another --out")
    return files


def _images(folder: Path) -> Iterator[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir())
    return (path for path in files if not path.name.startswith("."))


def _unique_names(files: Iterable[Path]) -> dict[str, Path]:
    """Name every file by its stem; add -2, -3 … where a stem occurs again, also in another case."""
    named: dict[str, Path] = {}
    used: set[str] = set()
    for file in files:
        name, n = file.stem, 1
        while name.casefold() in used:
            n += 1
            name = f"{file.stem}-{n}"
        used.add(name.casefold())
        named[name] = file
    return named


def _read(files: Iterable[tuple[str, Path]], skipped: list[Path], pool: Executor) -> Iterator[InputImage]:
    """Decode BATCH files at a time; report the files that cannot be decoded and append them to `skipped`."""
    remaining = iter(files)
    while chunk := list(islice(remaining, BATCH)):
        for (name, file), decoded in zip(chunk, pool.map(_decode, chunk), strict=True):
            if isinstance(decoded, UserError):  # its message continues the name of the file
                skipped.append(file)
                say(f"{file} {decoded}")
            else:
                yield InputImage(name, file, decoded)


def _decode(named_file: tuple[str, Path]) -> NDArray[np.uint8] | UserError:
    try:
        return read_picture(named_file[1].read_bytes())
    except UserError as error:
        return error


def _batches(images: Iterable[InputImage]) -> Iterator[list[InputImage]]:
    """Group consecutive images of the same size, at most BATCH."""
    batch: list[InputImage] = []
    for image in images:
        if batch and (len(batch) == BATCH or batch[0].grey.shape != image.grey.shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


def _predict_batch(
    serving: keras.Model, batch: Sequence[InputImage], folder: Path, pool: Executor
) -> list[Prediction]:
    """Predict images of one size and write their masks and overlays."""
    result = serving.predict_on_batch(np.stack([image.grey for image in batch])[..., None])

    def write(i: int, image: InputImage) -> Prediction:
        mask = result["mask"][i, ..., 0].astype(bool)
        _save(np.where(mask, np.uint8(255), np.uint8(0)), folder / f"{image.name}_mask.png")
        _save(highlight(image.grey, mask), folder / f"{image.name}_overlay.png")
        return Prediction(
            name=image.name,
            score=f"{float(result['score'][i]):.6g}",
            defective=int(result["defective"][i]),
            area=int(mask.sum()),
            file=image.file,
        )

    return list(pool.map(write, range(len(batch)), batch))


def _save(image: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(image).save(path, compress_level=1)  # a fifth of the default's time; masks are not larger
