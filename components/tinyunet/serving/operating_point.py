"""Where a model's outputs become decisions, and the evaluation that says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinyunet.core.console import say
from tinyunet.core.errors import UserError
from tinyunet.core.files import read_json


@dataclass(frozen=True)
class OperatingPoint:
    """Where a model's outputs become decisions.

    Attributes:
        threshold: Pixels above this probability are defective.
        image_threshold: Images above this score (a logit) are defective.
        image_score: `max` logit, `top100` or `smoothed`.
        test_time_poses: Poses whose logits are averaged, 1 or 8: the thresholds hold for these.
    """

    threshold: float = 0.5
    image_threshold: float = 0.0
    image_score: str = "max"
    test_time_poses: int = 1

    @classmethod
    def of(cls, evaluation: Mapping[str, Any]) -> "OperatingPoint":
        """Take what a model was judged at from the content of metrics.json."""
        return cls(
            evaluation["threshold"],
            evaluation["test"]["image_threshold"],
            evaluation["image_score"],
            evaluation.get("test_time_poses", 1),
        )

    def __str__(self) -> str:
        """Give the numbers that decide."""
        poses = f" over {self.test_time_poses} poses" if self.test_time_poses > 1 else ""
        return f"thresholds {self.threshold:.3g} and {self.image_threshold:.3g}{poses}"


def find_operating_point(folder: Path, sha256: str) -> OperatingPoint:
    """Find what a model was judged at, and say it: metrics.json in its folder, beside it or in a sibling.

    The model of a pipeline's run, …/train/model, has …/evaluate/evaluation. The newest evaluation of these
    very weights (by SHA-256) counts; without one it is 0.5 and its logit, 0.
    """
    here = folder.resolve()
    places = {here / "metrics.json", here.parent / "metrics.json", *here.parent.glob("*/metrics.json")}
    places.add(here.parent.parent / "evaluate" / "evaluation" / "metrics.json")
    judged = {place: found for place in places if (found := _evaluation(place, sha256))}
    if not judged:
        say(f"{OperatingPoint()}, a guess: no evaluation beside {folder}; make one: tinyunet evaluate")
        return OperatingPoint()
    newest = max(judged, key=lambda place: _age(place, judged[place]))
    operating = OperatingPoint.of(judged[newest])
    say(f"{operating} from {newest.parent}")
    return operating


def _evaluation(place: Path, sha256: str) -> dict[str, Any]:
    """Read an evaluation of these weights; nothing of others, or of a file that is none of ours."""
    try:
        found = read_json(place)
    except (UserError, OSError):
        return {}
    model = found.get("model")
    return found if isinstance(model, dict) and model.get("sha256") == sha256 else {}


def _age(place: Path, evaluation: Mapping[str, Any]) -> tuple[str, float]:
    written = place.stat().st_mtime
    at = datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
    return evaluation.get("evaluated_at", at), written
