"""The results of a local run for its user: reports in the folder of the run, and the closing lines."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.console import Progress
from tinyunet.core.categories import class_number
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.urls import redact
from tinyunet.evaluation.comparison import compare, table
from tinyunet.evaluation.report_links import link_reports, report_name
from tinyunet.evaluation.summary import headline


def publish(folder: Path, progress: Progress) -> str:
    """Copy the reports into the folder of the run and make the link `latest` point to it.

    Returns:
        The closing lines: scores, decisions of the registry, and paths.
    """
    (pipeline_folder,) = folder.glob("tinyunet-*/")
    classes = sorted(pipeline_folder.glob("for-loop-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    _update_link(folder.parent / "latest", folder)
    if classes:
        lines = _publish_classes(pipeline_folder, classes, folder)
    else:
        lines = _publish_one_class(pipeline_folder, folder)
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    class_reports = ", with a link to the report of each class" if classes else ""
    lines |= {
        "Report": str(folder.parent / "latest" / "report.html") + class_reports,
        "MLflow": redact(tracking) if tracking.startswith("http") else "make ui",
        "Log": str(folder / "run.log"),
        "Time": _times(progress.seconds),
    }
    return "\n".join(f"{label:9}{text}" for label, text in lines.items())


def publish_finished_classes(folder: Path) -> list[str]:
    """Copy the reports of the finished classes of an incomplete run into its folder.

    Returns:
        A line for each of these classes, with the folder of its evaluation.
    """
    outputs = sorted(folder.glob("tinyunet-classes-*/for-loop-*/register/executor_output.json"))
    evaluations = [output.parents[1] / "evaluate" / "evaluation" for output in outputs]
    return [
        f"{_publish_report(path, folder)} is finished; its evaluation is in {path}" for path in evaluations
    ]


def publish_table_of_finished(folder: Path, missing: Sequence[str]) -> list[str]:
    """Write the table of the finished categories of a failed run as its report.

    Args:
        folder: Folder of the run.
        missing: Categories that have not finished.

    Returns:
        The lines of the table and of the report's path; empty if no category has finished.
    """
    outputs = sorted(folder.glob("tinyunet-classes-*/for-loop-*/register/executor_output.json"))
    evaluations = [output.parents[1] / "evaluate" / "evaluation" for output in outputs]
    if not evaluations:
        return []
    remark = f"Missing, because a step failed: {', '.join(missing)}."
    result = compare(evaluations, folder / "comparison", remark=remark)
    page = (folder / "comparison" / "comparison.html").read_text(encoding="utf-8")
    (folder / "report.html").write_text(link_reports(page, folder), encoding="utf-8")
    return [*table(result.rows), remark, f"Report   {folder / 'report.html'}"]


def _publish_one_class(steps: Path, folder: Path) -> dict[str, str]:
    """Copy the reports of a run of one class; return its closing lines by label."""
    evaluation = steps / "evaluate" / "evaluation"
    shutil.copyfile(evaluation / "report.html", folder / "report.html")
    shutil.copyfile(steps / "ingest" / "raw" / "report.html", folder / "data.html")
    result = Evaluation.read(evaluation)
    return {
        "Test": headline(result),
        "": result.comparability,
        "Model": _decision(steps),
        "Images": f"{folder.parent / 'latest' / 'data.html'}: the checks of the images and their results",
    }


def _publish_classes(pipeline_folder: Path, classes: Sequence[Path], folder: Path) -> dict[str, str]:
    """Copy the report of each class and the table with links to them; return the closing lines by label."""
    lines = {
        _publish_report(steps / "evaluate" / "evaluation", folder): _decision(steps) for steps in classes
    }
    page = (pipeline_folder / "compare" / "report").read_text(encoding="utf-8")
    (folder / "report.html").write_text(link_reports(page, folder), encoding="utf-8")
    return lines


def _publish_report(evaluation: Path, folder: Path) -> str:
    """Copy the report of one of several categories into the folder of the run; return the category's name."""
    data = Evaluation.read(evaluation).data
    shutil.copyfile(evaluation / "report.html", folder / report_name(data))
    number = class_number(data.category)
    return f"Class {number}" if number else data.category


def _decision(steps: Path) -> str:
    """Return the registered model and the registry's reason, from KFP's output of the register step."""
    output = json.loads((steps / "register" / "executor_output.json").read_text())
    return str(output["parameterValues"]["reason"])


def _times(seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values())
    return ", ".join(f"{step} {s:.0f} s" for step, s in seconds.items()) + f"; {total:.0f} s in total"


def _update_link(link: Path, folder: Path) -> None:
    """Make `link` point to a folder beside it, in one atomic step, so that the link always exists."""
    new_link = link.with_name(f"{link.name}.part")
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(folder.name)
    new_link.replace(link)
