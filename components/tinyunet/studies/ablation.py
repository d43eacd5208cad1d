"""Ablation: the effect of each choice of the `fast` preset, on validation folds (`make ablation DATA=…`).

A row of the table is the preset with one change, or the preset's models evaluated with another option. The
training of a row with seed s uses fold s of Train and is scored on the held-out part of this fold. The Test
split is never read. Trained models are reused, so that an interrupted ablation can be continued.
"""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

import numpy as np

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.documents.base import JsonObject, Options
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.files import atomic_path
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.core.tensorflow_import import import_tensorflow
from tinyunet.data.ingest import ingest
from tinyunet.launch.launch import launch_local
from tinyunet.training.run import TrainingRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASE = "unchanged preset"
ROWS: dict[str, Options] = {
    BASE: {},
    "rotations and zooms": {"max_rotation": 45.0, "max_zoom": 0.15},
    "loss of the published recipe": {"loss": "adaptive"},
    "no clean images in the training": {"clean_fraction": 0.0},
    "no averaging of the weights": {"ema": 0.0},
    "constant learning rate without warm-up": {"schedule": "staircase", "decay_rate": 1.0},
    "no shifts": {"max_shift": 0.0},
    "a quarter of the images clean": {"clean_fraction": 0.25},
    "no warm-up": {"warmup_steps": 0},
    "grey levels from -1 to 1": {"normalization": "zero_centered"},
    "Dice loss over the whole batch": {"loss": "dice_bce"},
    "no changes of contrast and brightness": {"photometric": 0.0},
    "poses of the published recipe": {"poses": "published"},
}
EVALUATIONS: dict[str, Options] = {  # the models of the unchanged preset, evaluated with another option
    "evaluated over 8 poses": {"test_time_poses": 8},
    "image score: mean of the 100 largest logits": {"image_score": "top100"},
    "image score: largest mean of 5×5 logits": {"image_score": "smoothed"},
}
PUBLISHED = "published recipe, all its steps"
SCORES = {"dice": "Dice of defective images, validation", "ap": "image AP, validation"}
COLORS = {BASE: "#1f77b4", PUBLISHED: "#d95f02"}


class Row(JsonObject):
    """Scores of one row, with one value per seed.

    Attributes:
        changes: The options that differ from the preset.
        dice: Mean Dice of the defective validation images at the end of each training.
        ap: Image-level average precision on validation at the end of each training.
        curves: For each training, its steps with validation scores; empty for a row without trainings.
    """

    changes: Options
    dice: list[float]
    ap: list[float]
    curves: list[list[dict[str, float]]]


@dataclass(frozen=True)
class Study:
    """Settings of one ablation.

    Attributes:
        folder: Output folder.
        image_size: Side of the images in pixels.
        seeds: Number of seeds, and of folds, of every row.
        published: Number of seeds of the published recipe, whose trainings have 2,500 steps each.
        steps: Steps of all trainings except the published recipe.
        changes: Names of the rows besides the unchanged preset.
    """

    folder: Path
    image_size: int
    seeds: int
    published: int = 0
    steps: int = FAST.steps
    changes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, int]]:
        """Return every row with its number of seeds; the two rows of the figure come first."""
        published = [(PUBLISHED, self.published)] if self.published else []
        return [(BASE, self.seeds), *published, *((row, self.seeds) for row in self.changes)]

    def configuration(self, row: str, seed: int) -> TrainConfig:
        """Return the training configuration of a row."""
        fast = FAST.replace({"steps": self.steps})
        base, changes = (NVIDIA, {}) if row == PUBLISHED else (fast, ROWS[row])
        common = {"validate_every": base.steps // 10, "image_size": self.image_size, "seed": seed}
        return base.replace({**common, **changes})

    def model(self, row: str, seed: int) -> Path:
        """Return the folder of a row's model; train the model if the folder does not exist."""
        config = self.configuration(row, seed)
        out = self.folder / "models" / f"{config.digest()}-fold{seed}"
        if not (out / "model.json").is_file():
            records = str(self.folder / f"records{seed}")
            launch_local(TrainingRun(records=records, out=str(out), config=config, run_key=out.name))
        return out


def prepare(source: str, category: str, study: Study) -> None:
    """Ingest the class once, and convert it once for each fold."""
    import_tensorflow()
    # TensorFlow would warn about retracing; here each model needs a graph of its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from tinyunet.data.tfrecord import convert

    ingest(source, study.folder / "raw", category=category)
    for fold in range(study.seeds):
        settings = DataConfig(fold=fold)
        convert(study.folder / "raw", study.folder / f"records{fold}", settings)


def history(model: Path) -> list[dict[str, float]]:
    """Read the steps with validation scores of a training; `seconds` is the time since its start."""
    seconds, rows = 0.0, []
    batch = ModelDocument.read(model).train.global_batch
    with (model / "history.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            seconds += batch / max(float(row["images_per_s"]), 1e-9)
            if row["validation_dice"]:
                rows.append({key: float(value) for key, value in row.items()} | {"seconds": seconds})
    return rows


def measure_rows(study: Study) -> dict[str, Row]:
    """Train every row with every seed, one row after another, and return the scores of all rows."""
    rows: dict[str, Row] = {}
    for name, seeds in study.rows():
        curves = [history(study.model(name, seed)) for seed in range(seeds)]
        dice, ap = ([curve[-1][f"validation_{score}"] for curve in curves] for score in SCORES)
        rows[name] = Row(changes=ROWS.get(name, {"preset": "nvidia"}), dice=dice, ap=ap, curves=curves)
        print(format_row(name, rows), flush=True)
    for name, changes in EVALUATIONS.items():
        scores = [
            evaluate_again(study.model(BASE, seed), study.folder / f"records{seed}", changes)
            for seed in range(study.seeds)
        ]
        dice, ap = ([score[column] for score in scores] for column in (0, 1))
        rows[name] = Row(changes=changes, dice=dice, ap=ap, curves=[])
        print(format_row(name, rows), flush=True)
    return rows


def evaluate_again(model: Path, records: Path, changes: Options) -> tuple[float, float]:
    """Compute Dice (at a probability of 0.5) and image AP of a finished model on its validation fold."""
    from tinyunet.data.dataset import load_split
    from tinyunet.evaluation.inference import Predictor, evaluate_split
    from tinyunet.model.metrics import image_scores, pixel_scores
    from tinyunet.model.unet import rebuild
    from tinyunet.training.keras_file import for_this_machine, load_model

    config = EvalConfig().replace(changes)
    network = rebuild(for_this_machine(load_model(model / "model.keras")))
    split = load_split(records, "validation", network.input_shape[1])
    result = evaluate_split(Predictor(network, config), split, config)
    return (
        pixel_scores(result.counts, split.defective, 0.5).dice_defective or 0.0,
        image_scores(result.scores, split.defective, 0.0).image_ap or 0.0,
    )


def format_row(name: str, rows: Mapping[str, Row]) -> str:
    """Format a row as Markdown: mean ± standard deviation, and mean difference from the unchanged preset."""
    row, base = rows[name], rows.get(BASE, rows[name])
    difference = mean(a - b for a, b in zip(row.dice, base.dice, strict=False))  # pairs with equal seeds
    change = ", ".join(f"`{k}={v}`" for k, v in row.changes.items())
    return f"| {name} | {change} | {_spread(row.dice)} | {difference:+.3f} | {_spread(row.ap)} |"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def format_table(rows: Mapping[str, Row]) -> str:
    """Format the table of all rows as Markdown."""
    head = "| | change | Dice, defective | difference | image AP |\n|---|---|---|---|---|"
    return "\n".join([head, *(format_row(name, rows) for name in rows)])


def draw_curves(rows: Mapping[str, Row], path: Path) -> None:
    """Draw mean and range of Dice and image AP over time, for the preset and the published recipe.

    A step costs the same time in every row. The time axis therefore uses the time per step of the fastest
    training, which other programs disturbed least.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    curves = {name: rows[name].curves for name in COLORS.keys() & rows.keys()}
    step_s = min(curve[-1]["seconds"] / curve[-1]["step"] for row in curves.values() for curve in row)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for row in sorted(curves):
            _curve(axes, row, curves[row], f"validation_{name}", step_s)
        axes.set(xscale="log", ylim=(0, 1.03), ylabel=label)
        axes.set(xlabel=f"seconds of training, {step_s:.2f} a step")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, loc="upper left")
    reproducible = mpl.rc_context({"svg.hashsalt": "ablation", "svg.fonttype": "none"})
    with atomic_path(path) as temporary, reproducible:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _curve(
    axes: "Axes", row: str, curves: Sequence[Sequence[Mapping[str, float]]], column: str, step_s: float
) -> None:
    seconds = step_s * np.array([point["step"] for point in curves[0]])
    scores = np.array([[point[column] for point in curve] for curve in curves])
    axes.fill_between(seconds, scores.min(0), scores.max(0), color=COLORS[row], alpha=0.18, linewidth=0)
    axes.plot(seconds, scores.mean(0), "o-", color=COLORS[row], markersize=3, label=row)


def run_study(study: Study, source: str, category: str) -> None:
    """Measure the rows of a study, and write ablation.json, ablation.md and learning.svg into its folder.

    Args:
        study: The settings.
        source: Folder or .zip of DAGM2007, or synthetic://.
        category: Category of the data set.

    Raises:
        UserError: if the configuration or the source is not valid.
        TrainingFailed: if a training ends without a model.
    """
    study.configuration(BASE, 0)  # raises an error for an invalid size or number of steps at once
    prepare(source, category, study)
    rows = measure_rows(study)
    with atomic_path(study.folder / "ablation.json") as temporary:
        content = {name: row.model_dump() for name, row in rows.items()}
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    with atomic_path(study.folder / "ablation.md") as temporary:
        temporary.write_text(format_table(rows) + "\n")
    draw_curves(rows, study.folder / "learning.svg")
