"""Run a training of MLflow again, from what MLflow keeps of it, and compare."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.core.presets import find_preset
from tinyunet.data.tfrecord import read_manifest
from tinyunet.launch.launch import Launch, default_run_key, launch_local
from tinyunet.tracking.client import RunRecord, read_run
from tinyunet.training import model_folder
from tinyunet.training.provenance import provenance

SCORES = ("loss", "validation_loss", "validation_dice", "validation_ap")


@dataclass(frozen=True)
class Comparison:
    """Two trainings side by side.

    Attributes:
        scores: Per score of the last step, the value of then and the one of now.
        identical: Whether all weights are equal, bit for bit; None if the first run did not say its own.
        expected: Whether they had to be: a deterministic run of the same code and dependencies.
    """

    scores: Mapping[str, tuple[float, float]]
    identical: bool | None
    expected: bool

    def lines(self) -> list[str]:
        """Give the comparison as text."""
        table = [f"{name:16} {then:.6f} then, {now:.6f} now" for name, (then, now) in self.scores.items()]
        if self.identical:
            return [*table, "the weights are identical, bit for bit"]
        if self.identical is None:
            return [*table, "the weights cannot be compared: the run has no tag weights_digest"]
        reason = (
            "a deterministic run must give the same" if self.expected else "it did not have to be the same"
        )
        return [*table, f"the weights differ: {reason}"]


def reproduce(run_id: str, records: Path, out: str) -> Comparison:
    """Train again as an MLflow run says: same configuration, precision, world size and data.

    Args:
        run_id: Of a finished training.
        records: The same records, a local folder.
        out: Model folder of the second training.

    Raises:
        UserError: if there is no such run, it did not finish, or the records are others.
        TrainingFailed: if the second training ends without a model.
    """
    if model_folder.finished_model(out) is not None:
        raise UserError(f"{out} holds a model already; expected a new folder: choose another --out")
    os.environ.pop("MLFLOW_RUN_ID", None)  # the second training is a run of its own
    then = read_run(run_id)
    digest = str(read_manifest(records)["digest"])
    if digest != then.tags.get("data_digest"):
        held = f"{records} has digest {digest[:12]}, run {run_id} was trained on"
        raise UserError(f"{held} {then.tags.get('data_digest', '?')[:12]}; bring the same records")
    code = {name: (then.tags.get(name), value) for name, value in provenance().items()}
    for name, (before, value) in code.items():
        if before != value:
            print(f"tinyunet: warning: {name} was {before}, is {value}", file=sys.stderr, flush=True)
    config = configuration(then)
    summary = launch_local(
        Launch(
            records=str(records),
            out=out,
            config=config,
            run_key=f"reproduce-{run_id}-{default_run_key(out)}",
            ranks=int(then.tags.get("world_size", then.params["world_size"])),  # the one that it ended with
            class_id=int(then.tags["class_id"]),
        )
    )
    revision = code["git_revision"][1]
    same_code = all(before == value for before, value in code.values()) and not (
        revision == "unknown" or revision.endswith("-dirty")
    )
    return compare(then, read_run(summary["mlflow"]["run_id"]), same_code=same_code)


def configuration(run: RunRecord) -> TrainConfig:
    """Read the configuration from a run's parameters; `precision` is the one that `auto` became."""
    known = set(TrainConfig.model_fields)
    return find_preset(run.params["preset"]).replace({k: v for k, v in run.params.items() if k in known})


def compare(then: RunRecord, now: RunRecord, *, same_code: bool) -> Comparison:
    """Compare the last values of the curves, and the weights by their digests."""
    both = then.metrics.keys() & now.metrics.keys()
    digests: list[Any] = [run.tags.get("weights_digest") for run in (then, now)]
    return Comparison(
        scores={name: (then.metrics[name], now.metrics[name]) for name in SCORES if name in both},
        identical=None if None in digests else digests[0] == digests[1],
        expected=same_code and then.params["deterministic"] == "True",
    )
