"""Predict the masks of image files; the memory that this needs does not depend on their number."""

import csv
import os
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
from tinyunet.core.files import atomic_folder, file_errors, why_unreadable
from tinyunet.data.pictures.pixels import CAMERA_FORMATS, read_picture
from tinyunet.evaluation.overlays import highlight
from tinyunet.serving.loading import load_serving

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")  # of the files in CAMERA_FORMATS
FORMATS = f"{', '.join(CAMERA_FORMATS[:-1])} or {CAMERA_FORMATS[-1]}"
BATCH_SIZE = 8


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
        defective: 1 if the model classifies the image as defective, otherwise 0.
        area: Number of pixels that the model classifies as defective.
        file: The file that the image was read from.
    """

    name: str
    score: str
    defective: int
    area: int
    file: Path


def predict(model: str | Path, inputs: Sequence[Path], out: Path) -> tuple[int, int]:
    """Write `<name>_mask.png`, `<name>_overlay.png` and a row of predictions.csv for each image.

    Images are processed in batches, so that memory does not grow with their number. A file that cannot be
    read, or is not an 8-bit grey image (PNG, BMP, TIFF, JPEG), is reported on stderr and skipped.

    Args:
        model: Model folder, `.keras` file or MLflow URI, as for `load_serving`.
        inputs: Image files, and folders of image files.
        out: Folder to write.

    Returns:
        The number of images, and how many of them the model classifies as defective.

    Raises:
        UserError: if an input or the model does not exist; also, after all other images have been predicted,
            if files were skipped.
    """
    with file_errors(out):
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
            raise UserError(f"none of {len(files)} files is an 8-bit grey {FORMATS}; nothing was written")
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
        if not path.exists() and not path.is_symlink():
            raise UserError(f"{path} does not exist; expected an image or a folder of images")
        images = sorted(_images(path)) if path.is_dir() else [path]
        if not images:
            raise UserError(f"{path} holds no {FORMATS} file; expected 8-bit grey images")
        files += images
    for path in files:
        # Path.resolve raises an error for a loop of links, os.path.realpath does not.
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out)):
            raise UserError(f"{path} is in {out}, which is replaced; choose another --out")
    return files


def _images(folder: Path) -> Iterator[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return (path for path in files if not path.name.startswith("."))


def _unique_names(files: Iterable[Path]) -> dict[str, Path]:
    """Return the files by their names without extension; a repeated name gets the suffix -2, -3, ….

    Names that differ only in upper and lower case count as repeated.
    """
    files_by_name: dict[str, Path] = {}
    used: set[str] = set()
    for file in files:
        name, number = file.stem, 1
        while name.casefold() in used:
            number += 1
            name = f"{file.stem}-{number}"
        used.add(name.casefold())
        files_by_name[name] = file
    return files_by_name


def _read(files: Iterable[tuple[str, Path]], skipped: list[Path], pool: Executor) -> Iterator[InputImage]:
    """Decode the files in batches; report those that cannot be decoded, and append them to `skipped`."""
    remaining = iter(files)
    while chunk := list(islice(remaining, BATCH_SIZE)):
        for (name, file), decoded in zip(chunk, pool.map(_decode, chunk), strict=True):
            if isinstance(decoded, UserError):  # its message is a sentence without a subject, the file
                skipped.append(file)
                say(f"{file} {decoded}")
            else:
                yield InputImage(name, file, decoded)


def _decode(named_file: tuple[str, Path]) -> NDArray[np.uint8] | UserError:
    file = named_file[1]
    try:
        if reason := why_unreadable(file):
            return UserError(f"{reason}, expected an image")
        return read_picture(file.read_bytes())
    except UserError as error:
        return error
    except OSError as error:
        return UserError(f"cannot be read ({error.strerror})")


def _batches(images: Iterable[InputImage]) -> Iterator[list[InputImage]]:
    """Group consecutive images of the same size into batches of at most BATCH_SIZE images."""
    batch: list[InputImage] = []
    for image in images:
        if batch and (len(batch) == BATCH_SIZE or batch[0].grey.shape != image.grey.shape):
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
    # Level 1 takes a fifth of the time of the default level, and the files of masks are not larger.
    Image.fromarray(image).save(path, compress_level=1)
