"""The description of one training, which the pipeline, the command line, the launcher and the ranks share."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.base import Options
from tinyunet.core.errors import UserError, require
from tinyunet.core.presets import FAST, find_preset, with_missing_options


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training: its input, its output, its configuration and its identity.

    Attributes:
        records: Folder or s3:// prefix of TFRecords, or a source of images as for `tinyunet ingest`.
        out: Model folder to write, local or s3://.
        config: The training configuration; by default that of the preset `fast`.
        run_key: Identity of the MLflow run and of the MPIJob. A training that is started again with the
            same key continues them. The default is `default_run_key(out)`.
        ranks: Number of ranks that the launcher starts. The ranks read their number from the launcher.
        category: Category of the data set; it is used only if `records` is a source of images.
        checkpoints: Folder or s3:// prefix of the checkpoints; empty selects `<out>.checkpoints`.
        keep_checkpoints: Whether the last checkpoints are kept at the end of the training.
        lease: Seconds after which the ranks end, with a checkpoint, if nobody renews the lease of the job; 0
            for a training without a lease. It needs checkpoints on S3.
    """

    records: str
    out: str
    config: TrainConfig = FAST
    run_key: str = ""
    ranks: int = 1
    category: str = ""
    checkpoints: str = ""
    keep_checkpoints: bool = False
    lease: int = 0

    def __post_init__(self) -> None:
        if not self.run_key:
            object.__setattr__(self, "run_key", default_run_key(self.out))
        on_s3 = self.checkpoint_location.startswith("s3://")
        expected = "0, or seconds for a training with checkpoints on S3"
        require(self.lease == 0 or (self.lease > 0 and on_s3), "lease", self.lease, expected)

    @property
    def checkpoint_location(self) -> str:
        """Folder or s3:// prefix of the checkpoints."""
        return self.checkpoints or f"{self.out.rstrip('/')}.checkpoints"

    @property
    def lease_location(self) -> str:
        """S3 object that the launcher of an MPIJob renews."""
        return f"{self.checkpoint_location.rstrip('/')}/lease"

    def arguments(self) -> list[str]:
        """Return the arguments of `tinyunet` for every rank; `cli.training.training_run` reads them."""
        preset, values = find_preset(self.config.preset), self.config.to_dict()
        changes = {name: value for name, value in values.items() if value != getattr(preset, name)}
        settings = [argument for name, value in changes.items() for argument in ("--set", f"{name}={value}")]
        category = ["--category", self.category] if self.category else []
        checkpoints = ["--checkpoints", self.checkpoints] if self.checkpoints else []
        checkpoints += ["--keep-checkpoints"] if self.keep_checkpoints else []
        checkpoints += ["--lease", str(self.lease)] if self.lease else []
        return [
            "train", self.records, "--out", self.out, *category,
            "--run-key", self.run_key, "--preset", self.config.preset, *checkpoints, *settings,
        ]  # fmt: skip

    def identity(self, data_digest: str) -> Options:
        """Return the values that must be unchanged when this training is resumed.

        Args:
            data_digest: Digest of the records.
        """
        return self.config.resume_identity() | {"data": data_digest}

    def require_same(self, recorded: Mapping[str, object], data_digest: str, place: str) -> None:
        """Check that a checkpoint or a finished model belongs to this training.

        Args:
            recorded: The recorded `identity`. An option that it does not contain has the preset's value.
            data_digest: Digest of the records.
            place: Location of the checkpoint or the model, for the message.

        Raises:
            UserError: if a value differs; the message names the first one that differs.
        """
        completed = with_missing_options(recorded)
        for name, expected in sorted(self.identity(data_digest).items()):
            if completed.get(name) != expected:
                raise UserError(
                    f"{place} holds a training with {name}={completed.get(name)!r}, expected {expected!r}; "
                    "choose another --out, or delete it"
                )


def default_run_key(out: str) -> str:
    """Return the run key of a model folder: its name and a digest of its location, safe in file names."""
    location = out if "://" in out else str(Path(out).resolve())
    name = re.sub(r"[^a-z0-9]+", "-", Path(out).name.lower()).strip("-") or "run"
    return f"{name[:24]}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"


def check_shares(config: TrainConfig, ranks: int) -> None:
    """Check that the ranks, and the micro-batches of a rank, are equal parts of the global batch.

    Raises:
        UserError: if they are not; the message names `ranks` or `accumulate`.
    """
    batch = config.global_batch
    require(ranks >= 1 and batch % ranks == 0, "ranks", ranks, f"a divisor of the global batch {batch}")
    share, parts = batch // ranks, config.accumulate
    require(share % parts == 0, "accumulate", parts, f"a divisor of a rank's {share} images per step")
