"""Start a training on N ranks and follow it: in one process, by mpirun on this machine, or as an MPIJob."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

from tinyunet.config import TrainConfig, preset
from tinyunet.errors import UserError
from tinyunet.training import artifact

Launcher = Literal["auto", "local", "mpijob"]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What to train and where.

    Attributes:
        records: Folder or s3:// prefix of TFRecords.
        out: Model folder to write; under an MPIJob the s3:// URI that rank 0 writes to.
        config: The recipe.
        class_id: DAGM2007 class, for the run's names.
        run_key: Identity of the run: a second launch of the same key goes on with the first.
        ranks: World size.
        checkpoints: Where checkpoints go; empty is beside `out`.
    """

    records: str
    out: str
    config: TrainConfig
    run_key: str
    ranks: int = 1
    class_id: int = 1
    checkpoints: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """Give the arguments of `tinyunet` that every rank is started with."""
        base, values = preset(self.config.preset), self.config.to_dict()
        changed = {k: v for k, v in values.items() if v != getattr(base, k)}
        settings = [part for k, v in changed.items() for part in ("--set", f"{k}={v}")]
        kept = ["--checkpoints", self.checkpoints] if self.checkpoints else []
        return [
            "train", self.records, "--out", self.out, "--class-id", str(self.class_id),
            "--run-key", self.run_key, "--preset", self.config.preset, *kept, *settings,
        ]  # fmt: skip


def configure(name: str, values: Mapping[str, Any]) -> TrainConfig:
    """Give a preset with some values changed; zero steps and empty strings leave the preset's value."""
    kept = {k: v for k, v in values.items() if v != "" and not (k == "steps" and int(v) == 0)}
    return preset(name).replace(kept)


def launch_local(launch: Launch) -> dict[str, Any]:
    """Train on this machine: `ranks` processes under mpirun, or one.

    Returns:
        The content of model.json.

    Raises:
        UserError: if the ranks do not fit the batch, or mpirun is missing.
        TrainingFailed: if a rank ends with another exit code than 0.
    """
    if launch.ranks < 1 or launch.config.global_batch % launch.ranks:
        raise UserError(
            f"ranks is {launch.ranks}; expected a divisor of the global batch {launch.config.global_batch}"
        )
    command = [sys.executable, "-m", "tinyunet", *launch.arguments()]
    if launch.ranks > 1:
        command = [*mpirun(launch.ranks), *command]
    _run(command, os.environ | dict(launch.environment))
    summary = artifact.finished(launch.out)
    if summary is None:
        raise TrainingFailed(f"the ranks ended with exit code 0 but {launch.out} holds no model.json")
    return summary


class TrainingFailed(Exception):  # noqa: N818  reads as the sentence that it prints
    """The ranks ended without a model; the message says how."""


def mpirun(ranks: int) -> list[str]:
    """Give the mpirun command for ranks on this host (root needs Open MPI's explicit consent)."""
    consent = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", *consent, "-np", str(ranks), "--oversubscribe", "--bind-to", "none", "--map-by", "slot"]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        # Its own session: a terminal's Ctrl-C then reaches the ranks once, through `forward`.
        process = subprocess.Popen(command, env=environment, start_new_session=True)
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]} is not installed; expected Open MPI (Debian: apt-get install openmpi-bin)"
        ) from error

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if code:
        raise TrainingFailed(f"training ended with exit code {code}; its last lines are above")
