"""Checkpoints of pipeline runs on this machine, which remain until the run has registered its model."""

import shutil
from pathlib import Path

from tinyunet.core.config import TrainConfig
from tinyunet.core.config_base import digest
from tinyunet.core.documents.model import ModelDocument

# With these values, a training on whole images has the folder that it had in version 0.1.0.
UNUSED = {"checkpoint_every": 50, "validate_every": 50, "accumulate": 1}
PATCH_OPTIONS = ("patch", "defect_patches")
ROOT = Path("runs/checkpoints")  # relative to the working folder of the pipeline run


def checkpoint_folder(config: TrainConfig, data_digest: str) -> Path:
    """Return the folder of a training's checkpoints; it is the same for every run of this training."""
    identity = config.resume_identity() | UNUSED
    if not config.patch:
        identity = {key: value for key, value in identity.items() if key not in PATCH_OPTIONS}
    return ROOT.resolve() / f"{digest(identity)}-{data_digest[:12]}"


def delete_checkpoints(model: Path) -> None:
    """Delete the checkpoints of the training that wrote a model folder.

    Raises:
        UserError: if the folder has no model.json, or model.json does not fit.
    """
    document = ModelDocument.read(model)
    shutil.rmtree(checkpoint_folder(document.train, document.data.digest), ignore_errors=True)
