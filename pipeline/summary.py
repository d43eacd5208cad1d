"""What a finished local run tells its user: the numbers, the decision, and where everything is."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.console import Steps
from tinyunet.runtime.transfer import redact

HEADLINE = {
    "dice_defective": "Dice",
    "iou_defective": "IoU",
    "image_ap": "image AP",
    "image_auroc": "AUROC",
    "tpr": "TPR",
    "tnr": "TNR",
}


def publish(folder: Path, steps: Steps) -> str:
    """Put the report where it is found (the folder itself, and `latest` beside it); give the last lines."""
    (pipeline_folder,) = folder.glob("tinyunet-*/")
    evaluation = pipeline_folder / "evaluate" / "evaluation"
    shutil.copyfile(evaluation / "report.html", folder / "report.html")
    _point(folder.parent / "latest", folder)
    scores = json.loads((evaluation / "metrics.json").read_text())
    decision = json.loads((pipeline_folder / "register" / "executor_output.json").read_text())
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    lines = {
        "Test": _headline(scores),
        "": scores["comparability"],
        "Model": decision["parameterValues"]["reason"],
        "Report": str(folder.parent / "latest" / "report.html"),
        "MLflow": redact(tracking) if tracking.startswith("http") else "make ui",
        "Log": str(folder / "run.log"),
        "Time": _times(steps.seconds),
    }
    return "\n".join(f"{name:8}{text}" for name, text in lines.items())


def _headline(scores: Mapping[str, Any]) -> str:
    numbers = [f"{label} {_number(scores['test'][name])}" for name, label in HEADLINE.items()]
    data = scores["data"]
    images = f"{data['images']} images, {data['defective']} defective; Dice and IoU of these"
    return f"{', '.join(numbers)}  ({images})"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _times(seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values())
    return ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items()) + f"; {total:.0f} s in all"


def _point(link: Path, folder: Path) -> None:
    """Make `link` point to a folder beside it, in one step, so that a reader never finds it missing."""
    fresh = link.with_name(f"{link.name}.part")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(link)
