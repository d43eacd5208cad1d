"""What a pipeline run on this machine keeps of its training, until the run has come to its end."""

import shutil
from pathlib import Path

from tinyunet.core.config import TrainConfig
from tinyunet.core.files import read_json

ROOT = Path("runs/checkpoints")  # of the folder that runs are started in


def checkpoint_folder(config: TrainConfig, data_digest: str) -> Path:
    """Give the folder of the checkpoints of a training: the same run, started again, looks there."""
    same = TrainConfig(**config.resume_identity()).digest()
    return ROOT.resolve() / f"{same}-{data_digest[:12]}"


def delete_checkpoints(model: Path) -> None:
    """Delete the checkpoints of the training that made this model folder: its run has come to its end."""
    summary = read_json(model / "model.json")
    shutil.rmtree(
        checkpoint_folder(TrainConfig(**summary["train"]), summary["data"]["digest"]), ignore_errors=True
    )
