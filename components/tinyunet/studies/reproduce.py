"""Repetition of the training of an MLflow run, and comparison of the two results."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.core.presets import find_preset
from tinyunet.launch.launch import launch_local
from tinyunet.tracking.client import RunRecord, read_run
from tinyunet.training.model_folder import finished_model
from tinyunet.training.provenance import provenance
from tinyunet.training.run import TrainingRun, default_run_key

SCORES = ("loss", "validation_loss", "validation_dice", "validation_ap")


@dataclass(frozen=True)
class Comparison:
    """Comparison of two trainings.

    Attributes:
        scores: For each score of the last step, the value of the first and of the second training.
        identical: Whether all weights are equal, bit for bit; None if the first run has no digest of its
            weights.
        expected: Whether the weights had to be equal: a deterministic run of the same code and dependencies.
    """

    scores: Mapping[str, tuple[float, float]]
    identical: bool | None
    expected: bool

    def lines(self) -> list[str]:
        """Return the comparison as lines of text."""
        table = [f"{name:16} {one:.6f} before, {two:.6f} now" for name, (one, two) in self.scores.items()]
        if self.identical:
            return [*table, "the weights are identical, bit for bit"]
        if self.identical is None:
            return [*table, "the weights cannot be compared: the run has no tag weights_digest"]
        if self.expected:
            return [*table, "the weights differ: a deterministic training must give identical weights"]
        return [*table, "the weights differ: identical weights were not required"]


def reproduce(run_id: str, records: Path, out: str) -> Comparison:
    """Repeat the training of an MLflow run with the same configuration, precision, world size and data.

    Args:
        run_id: Id of the run of a finished training.
        records: The records of that training, a local folder.
        out: Model folder of the second training.

    Raises:
        UserError: if the run does not exist or did not finish, or if it used other records.
        TrainingFailed: if the second training ends without a model.
    """
    if finished_model(out) is not None:
        raise UserError(f"{out} already holds a model; expected a new folder: choose another --out")
    os.environ.pop("MLFLOW_RUN_ID", None)  # the second training creates its own run
    first = read_run(run_id)
    digest, recorded = RecordsManifest.read(records).digest, first.tags.get("data_digest", "?")
    if digest != recorded:
        raise UserError(
            f"{records} has digest {digest[:12]}, but run {run_id} was trained on {recorded[:12]}; "
            "use the same records"
        )
    code = {name: (first.tags.get(name), value) for name, value in provenance().items()}
    for name, (before, value) in code.items():
        if before != value:
            print(f"tinyunet: warning: {name} was {before}, is {value}", file=sys.stderr, flush=True)
    config = configuration(first)
    document = launch_local(
        TrainingRun(
            records=str(records),
            out=out,
            config=config,
            run_key=f"reproduce-{run_id}-{default_run_key(out)}",
            ranks=int(first.tags.get("world_size", first.params["world_size"])),  # at the end of the run
        )
    )
    revision = code["git_revision"][1]
    same_code = all(before == value for before, value in code.values()) and not (
        revision == "unknown" or revision.endswith("-dirty")
    )
    assert document.mlflow is not None, "rank 0 tracks every training"
    return compare(first, read_run(document.mlflow.run_id), same_code=same_code)


def configuration(run: RunRecord) -> TrainConfig:
    """Return the configuration from a run's parameters, which hold the resolved `precision`."""
    options = TrainConfig.model_fields.keys() & run.params.keys()
    return find_preset(run.params["preset"]).replace({name: run.params[name] for name in options})


def compare(first: RunRecord, second: RunRecord, *, same_code: bool) -> Comparison:
    """Compare the final scores of two runs, and their weights by the digests."""
    common = first.metrics.keys() & second.metrics.keys()
    digests = [run.tags.get("weights_digest") for run in (first, second)]
    return Comparison(
        scores={name: (first.metrics[name], second.metrics[name]) for name in SCORES if name in common},
        identical=None if None in digests else digests[0] == digests[1],
        expected=same_code and first.params["deterministic"] == "True",
    )
