"""What a finished local run tells its user: the numbers, the decision, and where everything is."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
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
    """Put the reports where they are found (the folder, and `latest` beside it); give the last lines."""
    (pipeline_folder,) = folder.glob("tinyunet-*/")
    classes = sorted(pipeline_folder.glob("for-loop-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    _point(folder.parent / "latest", folder)
    lines = _classes(pipeline_folder, classes, folder) if classes else _one_class(pipeline_folder, folder)
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    lines |= {
        "Report": str(folder.parent / "latest" / "report.html"),
        "MLflow": redact(tracking) if tracking.startswith("http") else "make ui",
        "Log": str(folder / "run.log"),
        "Time": _times(steps.seconds),
    }
    return "\n".join(f"{name:9}{text}" for name, text in lines.items())


def _one_class(steps: Path, folder: Path) -> dict[str, str]:
    evaluation = steps / "evaluate" / "evaluation"
    shutil.copyfile(evaluation / "report.html", folder / "report.html")
    scores = json.loads((evaluation / "metrics.json").read_text())
    return {"Test": _headline(scores), "": scores["comparability"], "Model": _decision(steps)}


def _classes(pipeline_folder: Path, classes: Sequence[Path], folder: Path) -> dict[str, str]:
    """Copy the table, and beside it the report of each class."""
    shutil.copyfile(pipeline_folder / "compare" / "report", folder / "report.html")
    lines = {}
    for steps in classes:
        evaluation = steps / "evaluate" / "evaluation"
        class_id = json.loads((evaluation / "metrics.json").read_text())["data"]["class_id"]
        shutil.copyfile(evaluation / "report.html", folder / f"report-class{class_id}.html")
        lines[f"Class {class_id}"] = _decision(steps)
    return lines


def _decision(steps: Path) -> str:
    output = json.loads((steps / "register" / "executor_output.json").read_text())
    return str(output["parameterValues"]["reason"])


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
