"""The operating point of a model: its thresholds, image score and poses, from an evaluation."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tinyunet.core.console import say
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.errors import UserError


@dataclass(frozen=True)
class OperatingPoint:
    """The values that turn the outputs of a model into decisions.

    Attributes:
        threshold: Pixels with a higher probability are defective.
        image_threshold: Images with a higher score (a logit) are defective.
        image_score: `max`, `top100` or `smoothed`.
        test_time_poses: Number of poses whose logits are averaged, 1 or 8. The thresholds are valid only for
            this number.
    """

    threshold: float = 0.5
    image_threshold: float = 0.0
    image_score: str = "max"
    test_time_poses: int = 1

    @classmethod
    def of(cls, evaluation: Evaluation) -> "OperatingPoint":
        """Return the operating point of an evaluation."""
        return cls(
            evaluation.threshold,
            evaluation.test.image_threshold,
            evaluation.image_score,
            evaluation.test_time_poses,
        )

    def __str__(self) -> str:
        """Return the thresholds and the number of poses in words."""
        poses = f" over {self.test_time_poses} poses" if self.test_time_poses > 1 else ""
        return f"thresholds {self.threshold:.3g} and {self.image_threshold:.3g}{poses}"


@dataclass(frozen=True)
class FoundEvaluation:
    """An evaluation of a model, and its folder."""

    folder: Path
    evaluation: Evaluation


def choose_operating_point(found: FoundEvaluation | None, folder: Path) -> OperatingPoint:
    """Return the operating point of what `find_evaluation` found for a model folder, and print it.

    Without an evaluation, the thresholds are the probability 0.5 and its logit 0.
    """
    if found is None:
        say(
            f"{OperatingPoint()}, the default: no evaluation of this model beside {folder}; "
            "create one: tinyunet evaluate"
        )
        return OperatingPoint()
    operating_point = OperatingPoint.of(found.evaluation)
    say(f"{operating_point} from {found.folder}")
    return operating_point


def find_evaluation(folder: Path, sha256: str) -> FoundEvaluation | None:
    """Find the newest evaluation of a model.

    The evaluation is searched for in the model folder, in its parent folder and in all folders beside it. In
    a run of the pipeline, the evaluation of …/train/model is in …/evaluate/evaluation.

    Args:
        folder: Folder of the model.
        sha256: Digest of the model's `.keras` file; evaluations of other files are ignored.
    """
    resolved = folder.resolve()
    parent = resolved.parent
    folders = {resolved, parent, parent.parent / "evaluate" / "evaluation"}
    files = {folder / Evaluation.FILE for folder in folders} | set(parent.glob(f"*/{Evaluation.FILE}"))
    evaluations = {
        file: evaluation for file in files if (evaluation := _read_evaluation(file, sha256)) is not None
    }
    if not evaluations:
        return None
    newest = max(evaluations, key=lambda file: _time(file, evaluations[file]))
    return FoundEvaluation(newest.parent, evaluations[newest])


def _read_evaluation(file: Path, sha256: str) -> Evaluation | None:
    """Read an evaluation; return None if the file is absent, unreadable, or belongs to other weights."""
    try:
        evaluation = Evaluation.read(file.parent)
    except (UserError, OSError) as error:
        if file.is_file() and sha256.encode() in file.read_bytes():
            say(f"tinyunet: warning: {error}")
        return None
    return evaluation if evaluation.model.sha256 == sha256 else None


def _time(file: Path, evaluation: Evaluation) -> tuple[str, float]:
    """Return a sort key: the time of the evaluation, or the time of the file if none is recorded."""
    modified = file.stat().st_mtime
    at = datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")
    return evaluation.evaluated_at or at, modified
