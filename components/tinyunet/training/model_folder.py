"""The model folder that training writes: model.keras, model.json and history.csv."""

import csv
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tinyunet
from tinyunet.core.documents.model import (
    MlflowReference,
    ModelData,
    ModelDocument,
    Normalization,
    TrainingFigures,
)
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, file_errors
from tinyunet.core.retry import retry_while_unreachable
from tinyunet.storage import s3
from tinyunet.training.provenance import git_revision, lock_digest
from tinyunet.training.run import TrainingRun

if TYPE_CHECKING:
    import keras

STORE_TIMEOUT_S = 3600.0  # the result of a whole training would be lost
COLUMNS = (
    "step", "loss", "bce", "dice_loss", "l2", "learning_rate", "gradient_norm", "images_per_s",
    "validation_loss", "validation_dice", "validation_ap",
)  # fmt: skip

Row = dict[str, float]  # the figures of one step; the keys are COLUMNS, the validation columns are optional


def read_model(folder: Path) -> ModelDocument:
    """Read the description of a trained model.

    Raises:
        UserError: if the folder is not a model folder, or its model.json does not fit.
    """
    if not (folder / "model.keras").is_file():
        raise UserError(f"{folder} holds no model.keras; expected a folder that `tinyunet train` made")
    return ModelDocument.read(folder)


def finished_model(out: str) -> ModelDocument | None:
    """Return the description of the model that a finished training wrote; None if there is none.

    Args:
        out: Model folder, local or s3://.

    Raises:
        UserError: if the location contains something else.
    """
    if s3.is_remote(out):
        uri = f"{out.rstrip('/')}/model.json"
        return _parse(out, s3.read_bytes(uri)) if s3.exists(uri) else None
    folder = Path(out)
    if (folder / "model.json").is_file():
        if not (folder / "model.keras").is_file():
            raise _incomplete(out, "it has no model.keras")
        return _parse(out, (folder / "model.json").read_bytes())
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(
            f"{out} exists and holds no model; expected a new or empty folder: choose another --out"
        )
    return None


def _parse(out: str, text: bytes) -> ModelDocument:
    try:
        return ModelDocument.parse(text, "model.json")
    except UserError as error:
        raise _incomplete(out, str(error).removesuffix(f"; {ModelDocument.REMEDY}")) from error


def _incomplete(out: str, reason: str) -> UserError:
    return UserError(
        f"{out} holds no complete model of tinyunet ({reason}); choose another --out, or delete it"
    )


def write_model(out: str, model: "keras.Model", document: ModelDocument, history: Sequence[Row]) -> None:
    """Write the model folder locally or under an s3:// prefix.

    A local folder appears completely or not at all. On S3, model.json is written last: without it there is no
    model. If the object store does not answer, the upload is tried again for up to an hour.

    Args:
        out: Model folder, local or s3://.
        model: The trained model.
        document: The content of model.json.
        history: The rows of history.csv.

    Raises:
        UserError: if the folder cannot be written.
    """
    if s3.is_remote(out):
        with tempfile.TemporaryDirectory() as folder:
            _write_files(Path(folder), model, document, history)
            for name in ("model.keras", "history.csv", "model.json"):
                push = partial(s3.push, Path(folder) / name, f"{out.rstrip('/')}/{name}")
                retry_while_unreachable(push, server="the object store", timeout_s=STORE_TIMEOUT_S)
        return
    target = Path(out)
    with file_errors(target), atomic_path(target) as part:
        part.mkdir(parents=True)
        _write_files(part, model, document, history)
        if target.is_dir():
            target.rmdir()  # a launcher may have made an empty folder; a folder with files is not replaced


def _write_files(folder: Path, model: "keras.Model", document: ModelDocument, history: Sequence[Row]) -> None:
    from tinyunet.model.unet import rebuild
    from tinyunet.training.keras_file import save_model

    save_model(rebuild(model, plain=True), folder / "model.keras")
    document.write(folder)
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: f"{value:.8g}" for name, value in row.items()} for row in history)


def describe_model(
    run: TrainingRun,
    manifest: RecordsManifest,
    history: Sequence[Row],
    *,
    normalization: Normalization,
    precision: str,
    world_size: int,
    weights_digest: str,
    mlflow: MlflowReference | None,
) -> ModelDocument:
    """Return the content of model.json.

    Args:
        run: The training.
        manifest: Manifest of its records.
        history: One row per step; the last row has validation scores.
        normalization: Scaling of the model's input.
        precision: Keras dtype policy; not `auto`.
        world_size: Number of ranks.
        weights_digest: SHA-256 over all weights.
        mlflow: The training's run; None if it was not tracked.
    """
    from tinyunet.model.unet import COLOUR_PARAMETERS, PARAMETERS

    config = run.config
    return ModelDocument(
        tinyunet_version=tinyunet.__version__,
        preset=config.preset,
        image_size=config.input_size,
        channels=manifest.channels,
        bits=manifest.bits,
        scale=manifest.scale,
        dataset=manifest.dataset,
        category=manifest.category,
        parameters=COLOUR_PARAMETERS if manifest.channels == 3 else PARAMETERS,
        weights_digest=weights_digest,
        precision=precision,
        world_size=world_size,
        steps=config.steps,
        seed=config.seed,
        train=config,
        identity=run.identity(manifest.digest),
        normalization=normalization,
        data=_data(manifest),
        git_revision=git_revision(),
        lock_digest=lock_digest(),
        mlflow=mlflow,
        training=_figures(history, config.global_batch),
    )


def _data(manifest: RecordsManifest) -> ModelData:
    return ModelData(
        digest=manifest.digest,
        source=manifest.source,
        source_digest=manifest.source_digest,
        complete=manifest.complete,
        synthetic=manifest.synthetic,
        train_digest=manifest.splits["train"].digest,
        validation_digest=manifest.splits["validation"].digest,
        test_digest=manifest.splits["test"].digest,
    )


def _figures(history: Sequence[Row], global_batch: int) -> TrainingFigures:
    rates, last = [row["images_per_s"] for row in history], history[-1]
    return TrainingFigures(
        images_per_s=sorted(rates)[len(rates) // 2],
        seconds=sum(global_batch / max(rate, 1e-9) for rate in rates),
        final_loss=last["loss"],
        validation_dice=last["validation_dice"],
        validation_ap=last["validation_ap"],
    )
