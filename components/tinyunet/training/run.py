"""What one training is about, and whether a model or checkpoint is of the same one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.core.presets import with_missing_options
from tinyunet.data.tfrecord import read_manifest
from tinyunet.training.distributed import World


@dataclass(frozen=True)
class Job:
    """What one training is about: inputs, outputs and the ranks.

    Attributes:
        records: Folder of TFRecords, local to this rank.
        out: Model folder to write, local or s3://.
        checkpoints: Folder or s3:// prefix of the checkpoints.
        config: The recipe.
        world: The ranks.
        run_key: Identity under which MLflow keeps the run; a resumed training re-attaches by it.
        keep: Leave the last checkpoint where it is: whoever asked for the training takes it away.
    """

    records: Path
    out: str
    checkpoints: str
    config: TrainConfig
    world: World
    run_key: str
    keep: bool = False

    def identity(self) -> dict[str, Any]:
        """Give what must be equal for a checkpoint or a finished model to be this run's."""
        return self.config.resume_identity() | {"data": read_manifest(self.records)["digest"]}

    def refuse_other(self, identity: dict[str, Any], place: str) -> None:
        """Raise a UserError if what lies at a place has another identity than this training."""
        mine, identity = self.identity(), with_missing_options(identity)
        for key in sorted(mine):
            if identity.get(key) != mine[key]:
                held = f"{place} holds a training with {key}={identity.get(key)!r}, expected {mine[key]!r}"
                raise UserError(f"{held}; choose another --out, or delete it")
