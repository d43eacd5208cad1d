"""The comparison of several categories in one table; for DAGM2007 with NVIDIA's published scores."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from tinyunet.core.categories import DAGM, class_number
from tinyunet.core.documents.comparison import ComparedCategory, Comparison, NvidiaScores
from tinyunet.core.documents.evaluation import EvaluatedData, Evaluation, PublishedScores
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder
from tinyunet.evaluation.published import THRESHOLDS, published
from tinyunet.evaluation.rendering import mean, number, render
from tinyunet.evaluation.report_links import link_reports, report_name

HEADLINE_THRESHOLD = 0.99  # the threshold of NVIDIA's main results
SCORES = ("dice_defective", "iou_defective", "image_ap", "image_auroc", "tpr", "tnr")


def compare(evaluations: Sequence[Path], out: Path, *, reports: bool = False, remark: str = "") -> Comparison:
    """Write comparison.json and comparison.html.

    Args:
        evaluations: Folders written by `evaluate`, at most one per category.
        out: Folder to write.
        reports: Whether to copy the report of each category into `out` and to link to it from the page.
        remark: A sentence that is added to the notice, for example which categories are missing.

    Returns:
        The content of comparison.json, in the order of the categories.

    Raises:
        UserError: if `evaluations` is empty, a folder is not an evaluation, or two have the same category.
    """
    if not evaluations:
        raise UserError("there is nothing to compare; expected the evaluation of at least one category")
    pairs = sorted(((read_row(folder), folder) for folder in evaluations), key=lambda pair: _order(pair[0]))
    rows = [row for row, _ in pairs]
    for row, next_row in pairwise(rows):
        if row.full_name == next_row.full_name:
            raise UserError(f"{row.title} is given twice; expected one evaluation of each")
    result = Comparison(rows=tuple(rows), means=means(rows), notice=f"{notice(rows)} {remark}".strip())
    with atomic_folder(out, marker="comparison.json") as part:
        (part / "comparison.json").write_text(json.dumps(result.model_dump(), indent=2) + "\n")
        page = render(
            "comparison.html",
            rows=rows,
            groups=mean_groups(rows),
            notice=result.notice,
            label=_label,
            report_name=report_name,
        )
        for row, folder in pairs if reports else ():
            if (folder / "report.html").is_file():
                shutil.copyfile(folder / "report.html", part / report_name(row))
        (part / "comparison.html").write_text(link_reports(page, part), encoding="utf-8")
    return result


def read_row(folder: Path) -> ComparedCategory:
    """Read one category from the folder of its evaluation.

    Raises:
        UserError: if the folder is not an evaluation.
    """
    evaluation = Evaluation.read(folder)
    data, test = evaluation.data, evaluation.test
    number = class_number(data.category) if data.dataset == DAGM else None
    nvidia = published(number) if number else None
    return ComparedCategory(
        dataset=data.dataset,
        category=data.category,
        data=_kind_of_data(data),
        image_size=evaluation.image_size,
        comparable=evaluation.comparable,
        ours={key: getattr(test, key) for key in SCORES},
        floor=test.nvidia_iou_floor,
        at={threshold: _our_scores(evaluation, threshold) for threshold in THRESHOLDS},
        float32=_by_threshold(nvidia.float32) if nvidia else None,
        amp=_by_threshold(nvidia.amp) if nvidia else None,
        dice=(nvidia.float32.dice_defective[-1], nvidia.amp.dice_defective[-1]) if nvidia else None,
    )


def means(rows: Sequence[ComparedCategory]) -> dict[str, float | None]:
    """Return our scores, averaged over the categories; None where one has no score."""
    averages = {key: mean(row.ours[key] for row in rows) for key in SCORES}
    nvidia_iou = mean(row.at[HEADLINE_THRESHOLD].iou for row in rows)
    return averages | {f"nvidia_iou_{HEADLINE_THRESHOLD}": nvidia_iou}


def mean_groups(rows: Sequence[ComparedCategory]) -> list[tuple[str, Sequence[ComparedCategory]]]:
    """Return the groups of rows whose means are shown: all rows, and the comparable rows if others exist."""
    comparable = [row for row in rows if row.comparable]
    subset = [("mean, comparable", comparable)] if 0 < len(comparable) < len(rows) else []
    return [("mean", rows), *subset]


def notice(rows: Sequence[ComparedCategory]) -> str:
    """Return which rows may be compared with NVIDIA's scores, and why the others may not, as a text."""
    official = [_label(row) for row in rows if row.comparable]
    others: dict[str, list[str]] = {}
    for row in rows:
        if not row.comparable and row.amp:
            others.setdefault(f"{row.data}, {row.image_size or 'any'} px", []).append(_label(row))
    sentences = []
    if official:
        sentences.append(f"Official data at 512×512, comparable with NVIDIA's: class {', '.join(official)}.")
    if others:
        listed = "; class ".join(f"{', '.join(classes)} ({reason})" for reason, classes in others.items())
        sentences.append(f"Not comparable, NVIDIA's numbers for orientation only: class {listed}.")
    return " ".join(sentences)


def table(rows: Sequence[ComparedCategory]) -> Iterator[str]:
    """Yield the lines of a table for a terminal: our scores and, for DAGM2007, those of NVIDIA's AMP runs."""
    brackets = ", in brackets NVIDIA's AMP runs" if any(row.amp for row in rows) else ""
    yield f"Test{brackets}; IoU (a Dice over all images), TPR and TNR at {HEADLINE_THRESHOLD}"
    yield (
        f"{'category':22}{'data':17}{'px':>4}  "
        f"{'Dice, defective':17}{'IoU':15}{'floor':7}{'TPR':15}{'TNR':15}image AP"
    )
    for row in rows:
        yield _line(_label(row), row.data, str(row.image_size or "any"), [row])
    for name, members in mean_groups(rows):
        yield _line(f"{name} ({len(members)})", "", "", members)
    if text := notice(rows):
        yield text


def _line(name: str, data: str, size: str, rows: Sequence[ComparedCategory]) -> str:
    with_nvidia = all(row.amp for row in rows)

    def text(ours: float | None, nvidia: float | None) -> str:
        return f"{number(ours)} ({number(nvidia)})" if with_nvidia else number(ours)

    def both(key: str) -> str:
        nvidia = mean(getattr(row.amp[HEADLINE_THRESHOLD], key) if row.amp else None for row in rows)
        return text(mean(getattr(row.at[HEADLINE_THRESHOLD], key) for row in rows), nvidia)

    dice = text(
        mean(r.ours["dice_defective"] for r in rows), mean(r.dice[1] if r.dice else None for r in rows)
    )
    floor, ap = number(mean(r.floor for r in rows)), number(mean(r.ours["image_ap"] for r in rows))
    scores = f"{dice:17}{both('iou'):15}{floor:7}{both('tpr'):15}{both('tnr'):15}{ap}"
    return f"{name:22}{data:17}{size:>4}  {scores}"


def _label(row: ComparedCategory) -> str:
    """Return the number of a class of DAGM2007, or the name of another category."""
    return str(class_number(row.category) or row.category or row.dataset)


def _order(row: ComparedCategory) -> tuple[int, str]:
    return class_number(row.category) or 0, row.full_name


def _kind_of_data(data: EvaluatedData) -> str:
    if data.synthetic:
        return "synthetic"
    if data.dataset != DAGM:
        return "own"
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
