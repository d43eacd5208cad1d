"""Checkpoints of pipeline runs on this machine, which remain until the run has registered its model."""

import shutil
from pathlib import Path

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.model import ModelDocument

ROOT = Path("runs/checkpoints")  # relative to the working folder of the pipeline run


def checkpoint_folder(config: TrainConfig, data_digest: str) -> Path:
    """Return the folder of a training's checkpoints; it is the same for every run of this training."""
    identity = TrainConfig(**config.resume_identity()).digest()
    return ROOT.resolve() / f"{identity}-{data_digest[:12]}"


def delete_checkpoints(model: Path) -> None:
    """Delete the checkpoints of the training that wrote a model folder.

    Raises:
        UserError: if the folder has no model.json, or model.json does not fit.
    """
    document = ModelDocument.read(model)
    shutil.rmtree(checkpoint_folder(document.train, document.data.digest), ignore_errors=True)
