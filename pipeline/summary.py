"""What a finished local run tells its user: the numbers, the decision, and where everything is."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.console import Steps
from tinyunet.core.redaction import redact
from tinyunet.evaluation.links import link_reports, report_name
from tinyunet.evaluation.summary import headline


def publish(folder: Path, steps: Steps) -> str:
    """Put the reports where they are found (the folder, and `latest` beside it); give the last lines."""
    (pipeline_folder,) = folder.glob("tinyunet-*/")
    classes = sorted(pipeline_folder.glob("for-loop-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    _point(folder.parent / "latest", folder)
    lines = _classes(pipeline_folder, classes, folder) if classes else _one_class(pipeline_folder, folder)
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    beside = ", with a link to the report of each class" if classes else ""
    lines |= {
        "Report": str(folder.parent / "latest" / "report.html") + beside,
        "MLflow": redact(tracking) if tracking.startswith("http") else "make ui",
        "Log": str(folder / "run.log"),
        "Time": _times(steps.seconds),
    }
    return "\n".join(f"{name:9}{text}" for name, text in lines.items())


def finished(folder: Path) -> list[str]:
    """Put the reports of a broken-off run's finished classes into its folder; give a line for each class."""
    ends = sorted(folder.glob("tinyunet-classes-*/for-loop-*/register/executor_output.json"))
    evaluations = [end.parents[1] / "evaluate" / "evaluation" for end in ends]
    return [f"{_report_of_class(place, folder)} is done: its evaluation is {place}" for place in evaluations]


def _one_class(steps: Path, folder: Path) -> dict[str, str]:
    evaluation = steps / "evaluate" / "evaluation"
    shutil.copyfile(evaluation / "report.html", folder / "report.html")
    shutil.copyfile(steps / "ingest" / "raw" / "report.html", folder / "data.html")
    scores = json.loads((evaluation / "metrics.json").read_text())
    images = f"{folder.parent / 'latest' / 'data.html'}: what was checked and found"
    return {
        "Test": headline(scores),
        "": scores["comparability"],
        "Model": _decision(steps),
        "Images": images,
    }


def _classes(pipeline_folder: Path, classes: Sequence[Path], folder: Path) -> dict[str, str]:
    """Put the report of each class into the folder, and the table with links to them."""
    lines = {}
    for steps in classes:
        lines[_report_of_class(steps / "evaluate" / "evaluation", folder)] = _decision(steps)
    page = (pipeline_folder / "compare" / "report").read_text(encoding="utf-8")
    (folder / "report.html").write_text(link_reports(page, folder), encoding="utf-8")
    return lines


def _report_of_class(evaluation: Path, folder: Path) -> str:
    """Put a class's report into the folder of the run; give the name of the class."""
    class_id = json.loads((evaluation / "metrics.json").read_text())["data"]["class_id"]
    shutil.copyfile(evaluation / "report.html", folder / report_name(class_id))
    return f"Class {class_id}"


def _decision(steps: Path) -> str:
    output = json.loads((steps / "register" / "executor_output.json").read_text())
    return str(output["parameterValues"]["reason"])


def _times(seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values())
    return ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items()) + f"; {total:.0f} s in all"


def _point(link: Path, folder: Path) -> None:
    """Make `link` point to a folder beside it, in one step, so that a reader never finds it missing."""
    fresh = link.with_name(f"{link.name}.part")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(link)
