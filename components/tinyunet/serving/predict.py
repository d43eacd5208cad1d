"""Models as others use them: found anywhere, applied to any number of images in constant memory."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinyunet.core.console import cores, say, track
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder
from tinyunet.data.pixels import CAMERA_FORMATS, read_picture
from tinyunet.evaluation.evaluate import read_model
from tinyunet.evaluation.overlays import highlight
from tinyunet.model.unet import rebuild
from tinyunet.serving.operating_point import find_operating_point
from tinyunet.serving.serving_model import OUTPUTS, serving_model
from tinyunet.training.keras_file import for_this_machine, load_model

MLFLOW = ("models:/", "runs:/")
SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")  # of CAMERA_FORMATS
IMAGES = f"{', '.join(CAMERA_FORMATS[:-1])} or {CAMERA_FORMATS[-1]}"
BATCH = 8
COLUMNS = ("name", "score", "defective", "area", "file")


@dataclass(frozen=True)
class Item:
    """An image to predict.

    Attributes:
        name: Its file name without extension, made unique among the inputs.
        file: Where it was read from.
        grey: uint8 [H, W].
    """

    name: str
    file: Path
    grey: NDArray[np.uint8]


def predict(model: str | Path, inputs: Sequence[Path], out: Path) -> tuple[int, int]:
    """Write `<name>_mask.png`, `<name>_overlay.png` and a row of predictions.csv (area in pixels) per image.

    Images stream through: memory does not grow with their number. A file that is no 8-bit grey image (PNG,
    BMP, TIFF, JPEG) is named on stderr and left out.

    Args:
        model: As for `load_serving`.
        inputs: Image files, and folders of them.
        out: Folder to make.

    Returns:
        The number of images predicted, and of those that the model calls defective.

    Raises:
        UserError: if an input or the model is missing, and at the end if files were refused.
    """
    names = _names(_files(inputs, out))
    serving = load_serving(model)
    refused: list[Path] = []
    defective = 0
    with (
        atomic_folder(out, marker="predictions.csv") as part,
        (part / "predictions.csv").open("w", newline="") as file,
        ThreadPoolExecutor(cores()) as pool,
    ):
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        read = _read(track(names.items(), "predicting", total=len(names)), refused, pool)
        for batch in _batches(read):
            rows = _apply(serving, batch, part, pool)
            table.writerows(rows)
            defective += sum(row["defective"] for row in rows)
        if len(refused) == len(names):
            raise UserError(f"none of {len(names)} files is an 8-bit grey {IMAGES}; nothing was written")
    if refused:
        raise UserError(
            f"{len(refused)} of {len(names)} files were refused (named above); the others are in {out}"
        )
    return len(names), defective


def load_serving(model: str | Path, *, plain: bool = False) -> keras.Model:
    """Load a model for serving.

    Args:
        plain: Keep the network of Keras' own layers that the file holds (`build_unet`).
        model: A folder that training made (its thresholds come from an evaluation, see `find_operating`),
            a `.keras` file (the same), a folder with one, `models:/name@alias` or `runs:/id` of MLflow.

    Raises:
        UserError: if there is no such model.
    """
    path = _resolve(str(model))
    if (path / "model.json").is_file():
        identity = read_model(path)
        network, use = (
            for_this_machine(load_model(path / "model.keras")),
            find_operating_point(path, identity["sha256"]),
        )
        network = network if plain else rebuild(network)
        return serving_model(network, image_size=identity["image_size"], **asdict(use))
    file = _keras_file(path)
    loaded = for_this_machine(load_model(file))
    if isinstance(loaded.output, dict):
        if set(OUTPUTS) <= set(loaded.output):
            say(f"thresholds and poses are those that {model} was made with")
            return loaded
        raise UserError(
            f"{path} gives {', '.join(loaded.output)}; expected {', '.join(OUTPUTS)}: export it again"
        )
    use = find_operating_point(file.parent, hashlib.sha256(file.read_bytes()).hexdigest())
    return serving_model(loaded, image_size=loaded.input_shape[1] or 512, **asdict(use))


def _resolve(model: str) -> Path:
    if model.startswith(MLFLOW):
        from tinyunet.tracking.download import download_model

        return Path(download_model(model))
    path = Path(model)
    if not path.exists():
        raise UserError(
            f"{model} does not exist; expected a model folder, a .keras file or models:/NAME@champion"
        )
    trained = path.name == "model.keras" and (path.parent / "model.json").is_file()
    return path.parent if trained else path


def _keras_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.rglob("*.keras"))
    if len(found) != 1:
        raise UserError(
            f"{path} holds {len(found)} .keras files; expected one, or a folder that training made"
        )
    return found[0]


def _files(inputs: Sequence[Path], out: Path) -> list[Path]:
    """List the input files; folders stand for the images in them."""
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist; expected an image or a folder of images")
        inside = sorted(_images(path)) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path} holds no {IMAGES} file; expected 8-bit grey images")
        found += inside
    for path in found:
        if path.resolve().is_relative_to(out.resolve()):
            raise UserError(f"{path} lies in {out}, which is replaced; choose another --out")
    return found


def _images(folder: Path) -> Iterator[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir())
    return (path for path in files if not path.name.startswith("."))


def _names(files: Iterable[Path]) -> dict[str, Path]:
    """Name every file by its stem, with -2, -3 … where a stem repeats (also by case alone)."""
    named: dict[str, Path] = {}
    taken: set[str] = set()
    for file in files:
        name, n = file.stem, 1
        while name.casefold() in taken:
            n += 1
            name = f"{file.stem}-{n}"
        taken.add(name.casefold())
        named[name] = file
    return named


def _read(files: Iterable[tuple[str, Path]], refused: list[Path], pool: Executor) -> Iterator[Item]:
    """Decode BATCH files at a time; name those that cannot be."""
    ahead = iter(files)
    while chunk := list(islice(ahead, BATCH)):
        for (name, file), found in zip(chunk, pool.map(_decode, chunk), strict=True):
            if isinstance(found, UserError):  # its message continues the file's name
                refused.append(file)
                say(f"{file} {found}")
            else:
                yield Item(name, file, found)


def _decode(item: tuple[str, Path]) -> NDArray[np.uint8] | UserError:
    try:
        return read_picture(item[1].read_bytes())
    except UserError as error:
        return error


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Group neighbours of one size, at most BATCH."""
    batch: list[Item] = []
    for item in items:
        if batch and (len(batch) == BATCH or batch[0].grey.shape != item.grey.shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _apply(serving: keras.Model, batch: Sequence[Item], folder: Path, pool: Executor) -> list[dict[str, Any]]:
    result = serving.predict_on_batch(np.stack([item.grey for item in batch])[..., None])

    def write(i: int, item: Item) -> dict[str, Any]:
        mask = result["mask"][i, ..., 0].astype(bool)
        _save(np.where(mask, np.uint8(255), np.uint8(0)), folder / f"{item.name}_mask.png")
        _save(highlight(item.grey, mask), folder / f"{item.name}_overlay.png")
        return {
            "name": item.name,
            "score": f"{float(result['score'][i]):.6g}",
            "defective": int(result["defective"][i]),
            "area": int(mask.sum()),
            "file": item.file,
        }

    return list(pool.map(write, range(len(batch)), batch))


def _save(image: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(image).save(path, compress_level=1)  # a fifth of the default's time, and no larger here
