"""Predict the masks of image files; the memory that this needs does not depend on their number."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinyunet.core.console import cores, say, track
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder, file_errors
from tinyunet.data.pictures.opening import FORMATS
from tinyunet.data.pictures.suffixes import SUFFIXES
from tinyunet.engine.engine import Engine, Inspection
from tinyunet.engine.overlay import highlight
from tinyunet.model.tile_progress import TileProgress
from tinyunet.serving.find import find_engine
from tinyunet.serving.pictures import chunks, decode

MAX_NAME = 255 - len("_overlay.png")  # bytes; file systems allow 255


@dataclass(frozen=True)
class InputImage:
    """An image to predict.

    Attributes:
        name: File name without extension, made unique among the inputs.
        file: The file that the image was read from.
        pixels: uint8 or uint16, [H, W, C]; C as the model takes it.
    """

    name: str
    file: Path
    pixels: NDArray[Any]


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


def predict(
    model: str | Path, inputs: Sequence[Path], out: Path, *, precision: str = "auto"
) -> tuple[int, int]:
    """Write `<name>_mask.png`, `<name>_overlay.png` and a row of predictions.csv for each image.

    Images are processed in batches, so that memory does not grow with their number, and large ones by tiles,
    unless the model resizes its images. A file that cannot be read, or whose number of bits is not that of
    the model, is reported on stderr and skipped. Colour and grey are converted to what the model takes.

    Args:
        model: Model folder, `.keras` file, engine folder or MLflow URI, as for `find_engine`.
        inputs: Image files, and folders of image files. The subfolders of a folder are used if there is no
            image in the folder itself.
        out: Folder to write.
        precision: Of the computation, as for `Engine`. In `float32` the answers are those of an evaluation in
            float32.

    Returns:
        The number of images, and how many of them the model classifies as defective.

    Raises:
        UserError: if an input or the model does not exist; also, after all other images have been predicted,
            if files were skipped.
    """
    with file_errors(out):
        files = _unique_names(_list_files(inputs, out))
    engine = Engine(find_engine(str(model)).folder, precision=precision)
    skipped: list[Path] = []
    defective = 0

    def skip(file: Path, reason: UserError) -> None:
        if len(files) == 1:
            raise UserError(f"{file} {reason}; nothing was written")
        skipped.append(file)
        say(f"{file} {reason}")

    with (
        atomic_folder(out, marker="predictions.csv") as part,
        (part / "predictions.csv").open(
            "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as csv_file,
        ThreadPoolExecutor(cores()) as pool,
    ):
        table = csv.writer(csv_file)
        table.writerow(field.name for field in fields(Prediction))
        tracked = track(files.items(), "predicting", total=len(files))
        for rows in _predict_files(engine, tracked, part, skip, pool):
            table.writerows(astuple(row) for row in rows)
            defective += sum(row.defective for row in rows)
        if len(skipped) == len(files):
            raise UserError(
                f"none of {len(files)} files is an image that this model takes; nothing was written"
            )
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
            raise UserError(f"{path} holds no {FORMATS} file; expected images")
        if path.is_dir() and (others := _not_read(path, images)):
            say(f"{path}: {others} other files and subfolders are not read")
        files += images
    for path in files:
        # Path.resolve raises an error for a loop of links, os.path.realpath does not.
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out)):
            raise UserError(f"{path} is in {out}, which is replaced; choose another --out")
    return files


def _images(folder: Path) -> list[Path]:
    """Return the images of a folder, or of its subfolders if there is none in the folder itself."""
    images = [path for path in folder.iterdir() if _looks_like_image(path, folder)]
    if images:
        return images
    return [path for path in folder.rglob("*") if _looks_like_image(path, folder) and not path.is_dir()]


def _not_read(folder: Path, images: Sequence[Path]) -> int:
    """Return the number of files and subfolders that are neither hidden nor images, nor contain one."""
    read = {path.relative_to(folder).parts[0] for path in images}
    return sum(path.name not in read and not path.name.startswith(".") for path in folder.iterdir())


def _looks_like_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _unique_names(files: Iterable[Path]) -> dict[str, Path]:
    """Return the files by their names without extension; a repeated name gets the suffix -2, -3, ….

    Names that differ only in upper and lower case count as repeated. A long name is cut, so that the names of
    the files to write are not too long for the file system.
    """
    files_by_name: dict[str, Path] = {}
    used: set[str] = set()
    for file in files:
        name, number = _cut(file.stem), 1
        while name.casefold() in used:
            number += 1
            name = _cut(file.stem, f"-{number}")
        used.add(name.casefold())
        files_by_name[name] = file
    return files_by_name


def _cut(stem: str, suffix: str = "") -> str:
    """Return a stem and a suffix in at most MAX_NAME bytes; only whole letters of the stem are left out."""
    while len(os.fsencode(stem + suffix)) > MAX_NAME:
        stem = stem[:-1]
    return stem + suffix


def _predict_files(
    engine: Engine,
    files: Iterable[tuple[str, Path]],
    folder: Path,
    skip: Callable[[Path, UserError], None],
    pool: Executor,
) -> Iterator[list[Prediction]]:
    """Predict files in batches; call `skip` for those that cannot be decoded."""
    for chunk in chunks(files):
        images: list[InputImage] = []
        decoded = pool.map(lambda item: decode(item[1], engine.document), chunk)
        for (name, file), pixels in zip(chunk, decoded, strict=True):
            if isinstance(pixels, UserError):  # its message is a sentence without a subject, the file
                skip(file, pixels)
            else:
                images.append(InputImage(name, file, pixels))
        answers = _inspect(engine, images)
        yield list(pool.map(_write, images, answers, [folder] * len(images)))


def _inspect(engine: Engine, images: Sequence[InputImage]) -> list[Inspection]:
    """Inspect images; the tiles of a large one, which is alone, show their progress."""
    on_tile: Callable[[], None] = lambda: None  # noqa: E731
    if len(images) == 1 and not engine.document.image_size:
        on_tile = TileProgress(images[0].name, engine.input_shape(images[0].pixels.shape))
    try:
        return engine.inspect([image.pixels for image in images], on_tile=on_tile)
    except UserError as error:
        raise UserError(f"{', '.join(image.name for image in images)}: {error}") from error


def _write(image: InputImage, answer: Inspection, folder: Path) -> Prediction:
    """Write the mask and the overlay of an image, and return its row of the table."""
    _save(highlight(image.pixels, answer.mask), folder / f"{image.name}_overlay.png")
    _save(answer.mask.view(np.uint8) * np.uint8(255), folder / f"{image.name}_mask.png")
    return Prediction(
        name=image.name,
        score=f"{answer.score:.6g}",
        defective=int(answer.defective),
        area=int(np.count_nonzero(answer.mask)),
        file=image.file,
    )


def _save(image: NDArray[np.uint8], path: Path) -> None:
    # Level 1 takes a fifth of the time of the default level, and the files of masks are not larger.
    Image.fromarray(image).save(path, compress_level=1)
