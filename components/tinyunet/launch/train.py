"""Train on this machine from Python."""

from pathlib import Path

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.presets import FAST
from tinyunet.launch.launch import launch_local
from tinyunet.training.run import TrainingRun


def train(
    records: Path | str, out: Path | str, config: TrainConfig = FAST, *, ranks: int = 1, category: str = ""
) -> ModelDocument:
    """Train a model on this machine in processes of its own; resume an interrupted training.

    Args:
        records: Folder or s3:// prefix of TFRecords, or a source of images as for `ingest`.
        out: Model folder to write, local or s3://.
        config: The training configuration.
        ranks: World size; more than one rank needs mpirun.
        category: Category of the data set, used for a source of images only.

    Returns:
        The content of model.json.

    Raises:
        UserError: if mpirun is not installed, or if the ranks do not divide the global batch.
        TrainingFailed: if the ranks end with an exit code other than 0.
    """
    run = TrainingRun(records=str(records), out=str(out), config=config, ranks=ranks, category=category)
    return launch_local(run)
