"""Checkpoints of pipeline runs on this machine, which remain until the run has registered its model."""

import shutil
from pathlib import Path

from tinyunet.core.config import TrainConfig
from tinyunet.core.config_base import digest
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.files import atomic_path, file_errors

# With these values, a training on whole images has the folder that it had in version 0.1.0.
UNUSED = {"checkpoint_every": 50, "validate_every": 50, "accumulate": 1}
PATCH_OPTIONS = ("patch", "defect_patches")
RUN_KEY = "run-key"  # file in the folder of a training's checkpoints
ROOT = Path("runs/checkpoints")  # relative to the working folder of the pipeline run


def checkpoint_folder(config: TrainConfig, data_digest: str) -> Path:
    """Return the folder of a training's checkpoints; it is the same for every run of this training."""
    identity = config.resume_identity() | UNUSED
    if not config.patch:
        identity = {key: value for key, value in identity.items() if key not in PATCH_OPTIONS}
    return ROOT.resolve() / f"{digest(identity)}-{data_digest[:12]}"


def kept_run_key(folder: Path, run_key: str) -> str:
    """Return the run key of an interrupted training, which then continues its run in MLflow.

    A checkpoint contains the key, too, but a training can be interrupted before its first checkpoint.

    Args:
        folder: Folder of the training's checkpoints.
        run_key: The key of a training that was not interrupted; it is written to the folder.

    Raises:
        UserError: if the folder cannot be written.
    """
    file = folder / RUN_KEY
    with file_errors(file):
        if not file.is_file():
            with atomic_path(file) as part:
                part.write_text(run_key, encoding="utf-8")
        return file.read_text(encoding="utf-8")


def delete_checkpoints(model: Path) -> None:
    """Delete the checkpoints of the training that wrote a model folder.

    Raises:
        UserError: if the folder has no model.json, or model.json does not fit.
    """
    document = ModelDocument.read(model)
    shutil.rmtree(checkpoint_folder(document.train, document.data.digest), ignore_errors=True)
