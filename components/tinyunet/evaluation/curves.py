"""Curves of an evaluation: their points, and their drawings as PNG and as SVG for a page."""

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

from tinyunet.evaluation.inference import Judged
from tinyunet.model.metrics import LEVELS, dice_curve, iou_curve

History = Mapping[str, Sequence[tuple[float, float]]]

POINTS = 200  # most points of a stored curve
BLUE, ORANGE = "#2f7ed8", "#e08a00"  # told apart by colour-blind readers, on light and on dark ground
INK, GRID = "#010203", "#010204"  # stand-ins in the SVG, replaced by the page's own text colour
TITLES = {
    "pr": "Precision and recall of images",
    "roc": "Receiver operating characteristic of images",
    "dice_vs_threshold": "Dice and IoU of defective images by pixel threshold",
    "history": "Training: loss and validation Dice",
}


def curve_points(judged: Judged) -> dict[str, dict[str, list[float]]]:
    """Give the points of the PR, ROC and Dice-vs-threshold curves, at most POINTS each.

    Curves that the images do not define (no defective or no clean one) have no points. Thresholds of PR and
    ROC are logits; the point where nothing is flagged has the largest score plus one.
    """
    return {"pr": _pr(judged), "roc": _roc(judged), "dice_vs_threshold": _dice(judged)}


def read_history(path: Path) -> History:
    """Read a training's history.csv: for every column its (step, value) pairs; none if there is no file."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "step"]
    return {name: [(float(row["step"]), float(row[name])) for row in rows if row[name]] for name in names}


def draw(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    history: History,
    *,
    threshold: float,
    operating_point: Mapping[str, Any],
) -> dict[str, Figure]:
    """Draw every curve that has points.

    Args:
        curves: From `curve_points`.
        history: From `read_history`.
        threshold: Pixel threshold, marked on the Dice curve.
        operating_point: `tpr`, `tnr` and `image` counts at the image threshold, marked on PR and ROC.
    """
    figures = {}
    if curves["pr"]["recall"]:
        figures["pr"] = _draw_pr(curves["pr"], operating_point["image"])
    if curves["roc"]["fpr"]:
        figures["roc"] = _draw_roc(curves["roc"], operating_point)
    if curves["dice_vs_threshold"]["threshold"]:
        figures["dice_vs_threshold"] = _draw_dice(curves["dice_vs_threshold"], threshold)
    if history.get("loss"):
        figures["history"] = _draw_history(history)
    return figures


def save_png(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write every figure as `folder/<name>.png` on white."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150, facecolor="white", metadata={"Software": None})


def to_svg(name: str, figure: Figure) -> str:
    """Render a figure as an SVG element that takes the page's text colour and shares no id with another."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(f"stroke: {GRID}", "stroke: currentColor; stroke-opacity: 0.18")
    svg = svg.replace(INK, "currentColor").replace(GRID, "currentColor")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{TITLES[name]}" ', svg, count=1)


def _pr(judged: Judged) -> dict[str, list[float]]:
    from sklearn.metrics import precision_recall_curve

    if not judged.split.defective.any():
        return {"precision": [], "recall": [], "threshold": []}
    precision, recall, threshold = precision_recall_curve(judged.split.defective, judged.scores)
    ends = np.append(threshold, judged.scores.max() + 1)
    return _thin(precision=precision, recall=recall, threshold=ends)


def _roc(judged: Judged) -> dict[str, list[float]]:
    from sklearn.metrics import roc_curve

    if judged.split.defective.all() or not judged.split.defective.any():
        return {"fpr": [], "tpr": [], "threshold": []}
    fpr, tpr, threshold = roc_curve(judged.split.defective, judged.scores)
    threshold[0] = judged.scores.max() + 1  # infinite, which JSON does not know
    return _thin(fpr=fpr, tpr=tpr, threshold=threshold)


def _dice(judged: Judged) -> dict[str, list[float]]:
    if not judged.split.defective.any():
        return {"threshold": [], "dice": [], "iou": []}
    counts = judged.counts.select(judged.split.defective)
    inner = slice(1, LEVELS)
    thresholds = np.arange(LEVELS + 1) / LEVELS
    return _thin(threshold=thresholds[inner], dice=dice_curve(counts)[inner], iou=iou_curve(counts)[inner])


def _thin(**columns: NDArray[Any]) -> dict[str, list[float]]:
    length = len(next(iter(columns.values())))
    keep = np.unique(np.linspace(0, length - 1, min(length, POINTS)).round().astype(int))
    return {name: [float(v) for v in values[keep]] for name, values in columns.items()}


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


def _legend(axes: Axes, place: Literal["lower left", "lower right", "best"] = "lower left") -> None:
    axes.legend(frameon=False, labelcolor=INK, loc=place)


def _draw_pr(curve: Mapping[str, Sequence[float]], image: Mapping[str, int]) -> Figure:
    figure, axes = _axes("recall", "precision")
    # From recall 1 down: a step holds the precision of its upper end, so that the area below is the AP.
    axes.step(curve["recall"], curve["precision"], where="post", color=BLUE, linewidth=2, label="images")
    flagged, bad = image["tp"] + image["fp"], image["tp"] + image["fn"]
    if flagged:
        axes.plot(image["tp"] / bad, image["tp"] / flagged, "o", color=ORANGE, label="chosen threshold")
    _legend(axes)
    return figure


def _draw_roc(curve: Mapping[str, Sequence[float]], point: Mapping[str, Any]) -> Figure:
    figure, axes = _axes("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], "--", color=GRID, linewidth=1)
    axes.plot(curve["fpr"], curve["tpr"], color=BLUE, linewidth=2, label="images")
    axes.plot(1 - point["tnr"], point["tpr"], "o", color=ORANGE, label="chosen threshold")
    _legend(axes, "lower right")
    return figure


def _draw_dice(curve: Mapping[str, Sequence[float]], threshold: float) -> Figure:
    figure, axes = _axes("pixel threshold (probability)", "mean over defective images")
    axes.plot(curve["threshold"], curve["dice"], color=BLUE, linewidth=2, label="Dice")
    axes.plot(curve["threshold"], curve["iou"], color=ORANGE, linewidth=2, linestyle="--", label="IoU")
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
    figure.legend(frameon=False, labelcolor=INK, loc="outside upper left", ncols=2)  # spikes fill the plot
    return figure
