"""The curves of an evaluation: their points, and drawings of them as PNG and as SVG for a page."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tinyunet.core.documents.curves import Curves, DiceCurve, PrCurve, RocCurve
from tinyunet.core.documents.evaluation import ConfusionCounts, Scores
from tinyunet.evaluation.inference import SplitResult
from tinyunet.model.metrics import LEVELS, dice_curve, iou_curve

History = Mapping[str, Sequence[tuple[float, float]]]

MAX_POINTS = 200
BLUE, ORANGE = "#2f7ed8", "#e08a00"  # colour-blind readers distinguish them, on light and on dark ground
INK, GRID = "#010203", "#010204"  # placeholders: in the SVG they become the text colour of the page
TITLES = {
    "pr": "Precision and recall of images",
    "roc": "Receiver operating characteristic of images",
    "dice_vs_threshold": "Dice and IoU of defective images by pixel threshold",
    "history": "Training: loss and validation Dice",
}


def curve_points(result: SplitResult) -> Curves:
    """Compute the points of the PR, ROC and Dice-vs-threshold curves, at most MAX_POINTS each.

    A curve that the images do not define (no defective or no clean image) has no points. The thresholds of PR
    and ROC are logits. The point where no image is flagged has the largest score plus one as threshold.
    """
    return Curves(pr=_pr_curve(result), roc=_roc_curve(result), dice_vs_threshold=_dice_curve(result))


def read_history(path: Path) -> History:
    """Read a training's history.csv.

    Returns:
        The (step, value) pairs of every column; empty if there is no file.
    """
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "step"]
    return {name: [(float(row["step"]), float(row[name])) for row in rows if row[name]] for name in names}


def draw(curves: Curves, history: History, *, threshold: float, scores: Scores) -> dict[str, Figure]:
    """Draw every curve that has points.

    Args:
        curves: From `curve_points`.
        history: From `read_history`.
        threshold: Pixel threshold, marked on the Dice curve.
        scores: Scores at the image threshold, marked on PR and ROC.

    Returns:
        The figures by the name of the curve, as in `TITLES`.
    """
    figures = {}
    if curves.pr.recall:
        figures["pr"] = _draw_pr(curves.pr, scores.image)
    if curves.roc.fpr and scores.tpr is not None and scores.tnr is not None:
        figures["roc"] = _draw_roc(curves.roc, tpr=scores.tpr, tnr=scores.tnr)
    if curves.dice_vs_threshold.threshold:
        figures["dice_vs_threshold"] = _draw_dice(curves.dice_vs_threshold, threshold)
    if history.get("loss"):
        figures["history"] = _draw_history(history)
    return figures


def save_png(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write every figure as `folder/<name>.png` on a white ground."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150, facecolor="white", metadata={"Software": None})


def to_svg(name: str, figure: Figure) -> str:
    """Render a figure as an SVG element in the text colour of the page; its ids begin with `name`."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(f"stroke: {GRID}", "stroke: currentColor; stroke-opacity: 0.18")
    svg = svg.replace(INK, "currentColor").replace(GRID, "currentColor")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{TITLES[name]}" ', svg, count=1)


def _pr_curve(result: SplitResult) -> PrCurve:
    from sklearn.metrics import precision_recall_curve

    if not result.split.defective.any():
        return PrCurve(precision=(), recall=(), threshold=())
    precision, recall, threshold = precision_recall_curve(result.split.defective, result.scores)
    threshold = np.append(threshold, result.scores.max() + 1)
    return PrCurve(**_subsample(precision=precision, recall=recall, threshold=threshold))


def _roc_curve(result: SplitResult) -> RocCurve:
    from sklearn.metrics import roc_curve

    if result.split.defective.all() or not result.split.defective.any():
        return RocCurve(fpr=(), tpr=(), threshold=())
    fpr, tpr, threshold = roc_curve(result.split.defective, result.scores)
    threshold[0] = result.scores.max() + 1  # scikit-learn returns infinity, which JSON cannot express
    return RocCurve(**_subsample(fpr=fpr, tpr=tpr, threshold=threshold))


def _dice_curve(result: SplitResult) -> DiceCurve:
    if not result.split.defective.any():
        return DiceCurve(threshold=(), dice=(), iou=())
    counts = result.counts.select(result.split.defective)
    inner = slice(1, LEVELS)  # without the thresholds 0 and 1
    thresholds = np.arange(LEVELS + 1) / LEVELS
    return DiceCurve(
        **_subsample(
            threshold=thresholds[inner], dice=dice_curve(counts)[inner], iou=iou_curve(counts)[inner]
        )
    )


def _subsample(**columns: NDArray[Any]) -> dict[str, tuple[float, ...]]:
    """Return at most MAX_POINTS evenly spaced rows of columns of one length, with the first and the last."""
    length = len(next(iter(columns.values())))
    rows = np.unique(np.linspace(0, length - 1, min(length, MAX_POINTS)).round().astype(int))
    return {name: tuple(float(v) for v in values[rows]) for name, values in columns.items()}


def _axes(x: str, y: str, *, unit: bool = True) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    if unit:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure, axes


def _legend(axes: Axes, location: Literal["lower left", "lower right", "best"] = "lower left") -> None:
    axes.legend(frameon=False, labelcolor=INK, loc=location)


def _draw_pr(curve: PrCurve, image: ConfusionCounts) -> Figure:
    figure, axes = _axes("recall", "precision")
    # Recall falls from 1 to 0. Each step has the precision of its right end: the area below is the AP.
    axes.step(curve.recall, curve.precision, where="post", color=BLUE, linewidth=2, label="images")
    flagged, defective = image.tp + image.fp, image.tp + image.fn
    if flagged:
        axes.plot(image.tp / defective, image.tp / flagged, "o", color=ORANGE, label="chosen threshold")
    _legend(axes)
    return figure


def _draw_roc(curve: RocCurve, *, tpr: float, tnr: float) -> Figure:
    figure, axes = _axes("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], "--", color=GRID, linewidth=1)
    axes.plot(curve.fpr, curve.tpr, color=BLUE, linewidth=2, label="images")
    axes.plot(1 - tnr, tpr, "o", color=ORANGE, label="chosen threshold")
    _legend(axes, "lower right")
    return figure


def _draw_dice(curve: DiceCurve, threshold: float) -> Figure:
    figure, axes = _axes("pixel threshold (probability)", "mean over defective images")
    axes.plot(curve.threshold, curve.dice, color=BLUE, linewidth=2, label="Dice")
    axes.plot(curve.threshold, curve.iou, color=ORANGE, linewidth=2, linestyle="--", label="IoU")
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=":", label=f"chosen, {threshold:g}")
    _legend(axes, "best")
    return figure


def _draw_history(history: History) -> Figure:
    figure, axes = _axes("step", "loss, Dice", unit=False)
    axes.plot(*zip(*history["loss"], strict=True), color=BLUE, linewidth=1.5, label="training loss")
    if history.get("validation_dice"):
        points = zip(*history["validation_dice"], strict=True)
        axes.plot(*points, "o-", color=ORANGE, markersize=4, label="validation Dice")
    axes.set_ylim(bottom=0)
    # Above the plot, because spikes of the loss may fill it.
    figure.legend(frameon=False, labelcolor=INK, loc="outside upper left", ncols=2)
    return figure
