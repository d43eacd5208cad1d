"""The comparison of several classes: our scores and NVIDIA's published ones in one table."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from tinyunet.core.documents.comparison import ComparedClass, Comparison, NvidiaScores
from tinyunet.core.documents.evaluation import EvaluatedData, Evaluation, PublishedScores
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder
from tinyunet.evaluation.published import THRESHOLDS, published
from tinyunet.evaluation.rendering import mean, number, render
from tinyunet.evaluation.report_links import link_reports, report_name

HEADLINE_THRESHOLD = 0.99  # the threshold of NVIDIA's main results
SCORES = ("dice_defective", "iou_defective", "image_ap", "image_auroc", "tpr", "tnr")


def compare(evaluations: Sequence[Path], out: Path, *, reports: bool = False) -> Comparison:
    """Write comparison.json and comparison.html.

    Args:
        evaluations: Folders written by `evaluate`, at most one per class.
        out: Folder to write.
        reports: Whether to copy the report of each class into `out` and to link to it from the page.

    Returns:
        The content of comparison.json, in the order of the classes.

    Raises:
        UserError: if `evaluations` is empty, a folder is not an evaluation, or two have the same class.
    """
    if not evaluations:
        raise UserError("there is nothing to compare; expected the evaluation of at least one class")
    pairs = sorted(((read_row(folder), folder) for folder in evaluations), key=lambda pair: pair[0].class_id)
    rows = [row for row, _ in pairs]
    for row, next_row in pairwise(rows):
        if row.class_id == next_row.class_id:
            raise UserError(f"class {row.class_id} is given twice; expected one evaluation per class")
    result = Comparison(rows=tuple(rows), means=means(rows), notice=notice(rows))
    with atomic_folder(out, marker="comparison.json") as part:
        (part / "comparison.json").write_text(json.dumps(result.model_dump(), indent=2) + "\n")
        page = render("comparison.html", rows=rows, groups=mean_groups(rows), notice=result.notice)
        for row, folder in pairs if reports else ():
            if (folder / "report.html").is_file():
                shutil.copyfile(folder / "report.html", part / report_name(row.class_id))
        (part / "comparison.html").write_text(link_reports(page, part), encoding="utf-8")
    return result


def read_row(folder: Path) -> ComparedClass:
    """Read one class from the folder of its evaluation.

    Raises:
        UserError: if the folder is not an evaluation.
    """
    evaluation = Evaluation.read(folder)
    data, test = evaluation.data, evaluation.test
    nvidia = published(data.class_id)
    return ComparedClass(
        class_id=data.class_id,
        data=_kind_of_data(data),
        image_size=evaluation.image_size,
        comparable=evaluation.comparable,
        ours={key: getattr(test, key) for key in SCORES},
        floor=test.nvidia_iou_floor,
        at={threshold: _our_scores(evaluation, threshold) for threshold in THRESHOLDS},
        float32=_by_threshold(nvidia.float32),
        amp=_by_threshold(nvidia.amp),
        dice=(nvidia.float32.dice_defective[-1], nvidia.amp.dice_defective[-1]),
    )


def means(rows: Sequence[ComparedClass]) -> dict[str, float | None]:
    """Return our scores, averaged over the classes; None where a class has no score."""
    averages = {key: mean(row.ours[key] for row in rows) for key in SCORES}
    nvidia_iou = mean(row.at[HEADLINE_THRESHOLD].iou for row in rows)
    return averages | {f"nvidia_iou_{HEADLINE_THRESHOLD}": nvidia_iou}


def mean_groups(rows: Sequence[ComparedClass]) -> list[tuple[str, Sequence[ComparedClass]]]:
    """Return the groups of rows whose means are shown: all rows, and the comparable rows if others exist."""
    comparable = [row for row in rows if row.comparable]
    subset = [("mean, comparable", comparable)] if 0 < len(comparable) < len(rows) else []
    return [("mean", rows), *subset]


def notice(rows: Sequence[ComparedClass]) -> str:
    """Return which rows may be compared with NVIDIA's scores, and why the others may not, as a text."""
    official = [str(row.class_id) for row in rows if row.comparable]
    others: dict[str, list[str]] = {}
    for row in rows:
        if not row.comparable:
            others.setdefault(f"{row.data}, {row.image_size} px", []).append(str(row.class_id))
    sentences = []
    if official:
        sentences.append(f"Official data at 512×512, comparable with NVIDIA's: class {', '.join(official)}.")
    if others:
        listed = "; class ".join(f"{', '.join(classes)} ({reason})" for reason, classes in others.items())
        sentences.append(f"Not comparable, NVIDIA's numbers for orientation only: class {listed}.")
    return " ".join(sentences)


def table(rows: Sequence[ComparedClass]) -> Iterator[str]:
    """Yield the lines of a table for a terminal: our scores, and those of NVIDIA's AMP runs."""
    yield (
        "Test, in brackets NVIDIA's AMP runs; IoU (a Dice over all images), TPR and TNR at "
        f"{HEADLINE_THRESHOLD}"
    )
    yield (
        f"{'class':22}{'data':17}{'px':>4}  "
        f"{'Dice, defective':17}{'IoU':15}{'floor':7}{'TPR':15}{'TNR':15}image AP"
    )
    for row in rows:
        yield _line(str(row.class_id), row.data, str(row.image_size), [row])
    for name, members in mean_groups(rows):
        yield _line(f"{name} ({len(members)})", "", "", members)
    yield notice(rows)


def _line(name: str, data: str, size: str, rows: Sequence[ComparedClass]) -> str:
    def both(key: str) -> str:
        ours, nvidia = (
            mean(getattr(getattr(row, source)[HEADLINE_THRESHOLD], key) for row in rows)
            for source in ("at", "amp")
        )
        return f"{number(ours)} ({number(nvidia)})"

    dice = f"{number(mean(r.ours['dice_defective'] for r in rows))} ({number(mean(r.dice[1] for r in rows))})"
    floor, ap = number(mean(r.floor for r in rows)), number(mean(r.ours["image_ap"] for r in rows))
    scores = f"{dice:17}{both('iou'):15}{floor:7}{both('tpr'):15}{both('tnr'):15}{ap}"
    return f"{name:22}{data:17}{size:>4}  {scores}"


def _kind_of_data(data: EvaluatedData) -> str:
    if data.synthetic:
        return "synthetic"
    return "official" if data.complete else "part or re-split"


def _our_scores(evaluation: Evaluation, threshold: float) -> NvidiaScores:
    """Return our scores at a threshold, which is a probability.

    For TPR and TNR, the largest logit of each image is compared with the logit of the threshold, because
    probabilities close to 1 are rounded to 1. They are None for an image score other than the largest logit.
    """
    logit = math.log(threshold / (1 - threshold))
    images = evaluation.images if evaluation.image_score == "max" else ()
    defective = [image.score > logit for image in images if image.defective]
    clean = [image.score > logit for image in images if not image.defective]
    return NvidiaScores(
        iou=evaluation.test.nvidia_iou[str(threshold)],
        tpr=fmean(defective) if defective else None,
        tnr=1 - fmean(clean) if clean else None,
    )


def _by_threshold(scores: PublishedScores) -> dict[float, NvidiaScores]:
    rows = zip(THRESHOLDS, scores.iou, scores.tpr, scores.tnr, strict=True)
    return {threshold: NvidiaScores(iou=iou, tpr=tpr, tnr=tnr) for threshold, iou, tpr, tnr in rows}
