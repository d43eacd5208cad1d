"""The curve of quality against seconds of training: patches of several sizes, and whole images.

    python -m tests.studies.curve records --out runs/curve

Each point is a training of its own with the preset `fast` and a part of its steps, because the model of an
early step, when the learning rate is still high, is worse. The models are judged on the whole images of
validation at their own size. The seconds are the steps times the median time of a step in a short training,
without the start; only these short trainings need a machine without other programs. Trainings that `--out`
has already are not repeated.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from tests.studies.judging import predictor_of
from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.files import atomic_path
from tinyunet.data.dataset import load_split
from tinyunet.evaluation.evaluate import fix_image_score
from tinyunet.evaluation.inference import evaluate_split
from tinyunet.model.metrics import image_scores, pixel_scores

PARTS = (0.25, 0.5, 1.0)
SPEED_STEPS = 24
HEIGHT = 0.12  # of the axes
SERIES = {  # options of `tinyunet train`, and the steps that take as long as those of `fast`
    "patches of 96": ("--patch=96", 660),
    "patches of 128": ("--patch=128", 400),
    "patches of 192": ("--patch=192", 180),
    "patches of 256": ("--patch=256", 100),
    "whole images at 128": ("--image-size=128", 400),
}


def train(records: Path, model: Path, option: str, steps: int) -> None:
    """Train a model, if the folder does not exist."""
    words = ("--preset=fast", "--seed=0", option, f"--steps={steps}")
    if not (model / "model.json").is_file():
        subprocess.run(
            [sys.executable, "-m", "tinyunet", "train", records, "--out", model, *words], check=True
        )


def seconds_per_step(records: Path, out: Path, option: str) -> float:
    """Return the median time of a step."""
    model = out / f"speed-{option.strip('-')}"
    train(records, model, option, SPEED_STEPS)
    with (model / "history.csv").open(newline="") as file:
        rates = [float(row["images_per_s"]) for row in csv.DictReader(file)]
    return float(ModelDocument.read(model).train.global_batch / np.median(rates[SPEED_STEPS // 4 :]))


def judge(records: Path, model: Path) -> dict[str, float]:
    """Return Dice (at a probability of 0.5) and image AP on validation, which are kept beside the model."""
    kept = model / "validation.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    config = fix_image_score(EvalConfig(), RecordsManifest.read(records).dataset)
    split = load_split(records, "validation", 0)
    result = evaluate_split(predictor_of(model), split, config)
    scores = {
        "dice": pixel_scores(result.counts, split.defective, 0.5).dice_defective or 0.0,
        "image_ap": image_scores(result.scores, split.defective, 0.0).image_ap or 0.0,
    }
    kept.write_text(json.dumps(scores))
    return scores


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw Dice and image AP against seconds, one line for each series, down to HEIGHT below the best."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2), ("dice", "image_ap"), ("Dice, defective images", "image AP"), strict=True
    ):
        for series, points in curves.items():
            line = "s--" if "whole" in series else "o-"
            axes.plot(
                [p["seconds"] for p in points], [p[name] for p in points], line, markersize=4, label=series
            )
        best = max(point[name] for points in curves.values() for point in points)
        axes.set(xlabel="seconds of training", ylabel=label, ylim=(best - HEIGHT, best + 0.01))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, loc="lower right")
    reproducible = mpl.rc_context({"svg.hashsalt": "curve", "svg.fonttype": "none"})
    with atomic_path(path) as temporary, reproducible:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    curves: dict[str, list[dict[str, float]]] = {series: [] for series in SERIES}
    step_s = {
        series: seconds_per_step(arguments.records, arguments.out, option)
        for series, (option, _) in SERIES.items()
    }
    for part in PARTS:
        for series, (option, steps) in SERIES.items():
            model = arguments.out / f"{option.strip('-')}-{round(part * steps)}"
            train(arguments.records, model, option, round(part * steps))
            scores = judge(arguments.records, model)
            curves[series].append({"seconds": round(part * steps) * step_s[series]} | scores)
            print(f"{series}, {round(part * steps)} steps: {curves[series][-1]}", flush=True)
        (arguments.out / "curve.json").write_text(json.dumps(curves, indent=1) + "\n")
        draw(curves, arguments.out / "curve.svg")


if __name__ == "__main__":
    main()
