"""What each choice of the `fast` preset is worth, on validation folds: `make ablation DATA=…`.

One row is the preset with one change, or its own models judged in another way. Row r, seed s trains on fold s
of Train and is scored on the part held out there; Test is never opened. A run that is there already is not
trained again, so an interrupted table goes on where it was.
"""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.files import atomic_path
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.core.tensorflow_import import import_tensorflow
from tinyunet.data.ingest import ingest
from tinyunet.launch.launch import Launch, launch_local

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Mapping[str, Any]
BASE = "fast, as it is"
ROWS: dict[str, Values] = {
    BASE: {},
    "rotations and zooms": {"max_rotation": 45.0, "max_zoom": 0.15},
    "published loss": {"loss": "adaptive"},
    "no clean images": {"clean_fraction": 0.0},
    "no averaged weights": {"ema": 0.0},
    "constant learning rate, no warm-up": {"schedule": "staircase", "decay_rate": 1.0},
    "no shifts": {"max_shift": 0.0},
    "a quarter clean images": {"clean_fraction": 0.25},
    "no warm-up": {"warmup_steps": 0},
    "grey levels in -1 to 1": {"normalization": "zero_centered"},
    "Dice pooled over the batch": {"loss": "dice_bce"},
    "no changes of contrast and brightness": {"photometric": 0.0},
    "published poses": {"poses": "published"},
}
JUDGED: dict[str, Values] = {  # the preset's own models, judged in another way
    "judged over 8 poses": {"test_time_poses": 8},
    "image score: mean of the 100 largest logits": {"image_score": "top100"},
    "image score: largest mean of 5×5 logits": {"image_score": "smoothed"},
}
PUBLISHED = "published recipe, all its steps"
SCORES = {"dice": "Dice of defective images, validation", "ap": "image AP, validation"}
COLORS = {BASE: "#1f77b4", PUBLISHED: "#d95f02"}


@dataclass(frozen=True)
class Study:
    """One ablation.

    Attributes:
        folder: Where everything is written.
        image_size: Side of the images in pixels.
        seeds: Seeds, and folds, of every row.
        published: Seeds of the published recipe; ten times the steps each, so perhaps fewer.
        steps: Steps of the preset's rows.
        changes: The rows besides the preset itself.
    """

    folder: Path
    image_size: int
    seeds: int
    published: int = 0
    steps: int = FAST.steps
    changes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, int]]:
        """Give every row and its seeds; the two that the figure shows first."""
        published = [(PUBLISHED, self.published)] if self.published else []
        return [(BASE, self.seeds), *published, *((row, self.seeds) for row in self.changes)]

    def configuration(self, row: str, seed: int) -> TrainConfig:
        """Give the training of a row."""
        fast = FAST.replace({"steps": self.steps})
        base, changes = (NVIDIA, {}) if row == PUBLISHED else (fast, ROWS[row])
        every = {"validate_every": base.steps // 10, "image_size": self.image_size, "seed": seed}
        return base.replace({**every, **changes})

    def model(self, row: str, seed: int) -> Path:
        """Train a row's model, if it is not there; give its folder."""
        config = self.configuration(row, seed)
        out = self.folder / "models" / f"{config.digest()}-fold{seed}"
        if not (out / "model.json").is_file():
            records = str(self.folder / f"records{seed}")
            launch_local(Launch(records=records, out=str(out), config=config, run_key=out.name))
        return out


def prepare(source: str, class_id: int, study: Study) -> None:
    """Ingest the class once, and convert it once per fold."""
    import_tensorflow()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # every model has its own graph: no retracing
    from tinyunet.data.tfrecord import convert

    ingest(source, study.folder / "raw", class_id=class_id)
    for fold in range(study.seeds):
        settings = DataConfig(class_id=class_id, fold=fold)
        convert(study.folder / "raw", study.folder / f"records{fold}", settings)


def history(model: Path) -> list[dict[str, float]]:
    """Give the validated steps of a training, with `seconds` since its start."""
    seconds, rows = 0.0, []
    batch = json.loads((model / "model.json").read_text())["train"]["global_batch"]
    with (model / "history.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            seconds += batch / max(float(row["images_per_s"]), 1e-9)
            if row["validation_dice"]:
                rows.append({key: float(value) for key, value in row.items()} | {"seconds": seconds})
    return rows


def measure(study: Study) -> dict[str, Any]:
    """Train every row with every seed; give its scores, seed by seed, at the end of the schedule."""
    result: dict[str, Any] = {}
    for row, seeds in study.rows():  # a row is whole before the next one begins
        curves = [history(study.model(row, seed)) for seed in range(seeds)]
        ends = {name: [curve[-1][f"validation_{name}"] for curve in curves] for name in SCORES}
        result[row] = {"changes": dict(ROWS.get(row, {"preset": "nvidia"})), **ends, "curves": curves}
        print(line(row, result), flush=True)
    for row, changes in JUDGED.items():
        places = [(study.model(BASE, seed), study.folder / f"records{seed}") for seed in range(study.seeds)]
        judged = [rejudge(model, records, changes) for model, records in places]
        ends = {name: [scores[name] for scores in judged] for name in SCORES}
        result[row] = {"changes": dict(changes), **ends, "curves": []}
        print(line(row, result), flush=True)
    return result


def rejudge(model: Path, records: Path, changes: Values) -> dict[str, float]:
    """Score a finished model on its validation fold: Dice at a probability of 0.5, and image AP."""
    from tinyunet.data.dataset import load_split
    from tinyunet.evaluation.inference import Predictor, judge
    from tinyunet.model.metrics import image_scores, pixel_scores
    from tinyunet.model.unet import rebuild
    from tinyunet.training.model_folder import for_this_machine, load_model

    config = EvalConfig().replace(dict(changes))
    network = rebuild(for_this_machine(load_model(model / "model.keras")))
    split = load_split(records, "validation", network.input_shape[1])
    found = judge(Predictor(network, config), split, config)
    return {
        "dice": pixel_scores(found.counts, split.defective, 0.5)["dice_defective"],
        "ap": image_scores(found.scores, split.defective, 0.0)["image_ap"],
    }


def line(row: str, result: Mapping[str, Any]) -> str:
    """Give a row of the Markdown table: mean ± deviation, and the mean difference to the base per seed."""
    scores, base = result[row], result.get(BASE, result[row])
    gain = mean(a - b for a, b in zip(scores["dice"], base["dice"], strict=False))  # of the same seeds
    change = ", ".join(f"`{k}={v}`" for k, v in scores["changes"].items())
    return f"| {row} | {change} | {_spread(scores['dice'])} | {gain:+.3f} | {_spread(scores['ap'])} |"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def table(result: Mapping[str, Any]) -> str:
    """Give the whole table as Markdown."""
    head = "| | change | Dice, defective | difference | image AP |\n|---|---|---|---|---|"
    return "\n".join([head, *(line(row, result) for row in result)])


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw Dice and image AP of the preset and of the published recipe against seconds, mean and range.

    A step costs the same in every row, so all are drawn at the pace of the run that was disturbed least.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    curves = {row: result[row]["curves"] for row in COLORS.keys() & result.keys()}
    pace = min(curve[-1]["seconds"] / curve[-1]["step"] for row in curves.values() for curve in row)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for row in sorted(curves):
            _curve(axes, row, curves[row], f"validation_{name}", pace)
        axes.set(xscale="log", ylim=(0, 1.03), xlabel=f"seconds of training, {pace:.2f} a step", ylabel=label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, loc="upper left")
    with atomic_path(path) as part, mpl.rc_context({"svg.hashsalt": "ablation", "svg.fonttype": "none"}):
        figure.savefig(part, format="svg", metadata={"Date": None})


def _curve(
    axes: "Axes", row: str, curves: Sequence[Sequence[Mapping[str, float]]], column: str, pace: float
) -> None:
    seconds = pace * np.array([point["step"] for point in curves[0]])
    scores = np.array([[point[column] for point in curve] for curve in curves])
    axes.fill_between(seconds, scores.min(0), scores.max(0), color=COLORS[row], alpha=0.18, linewidth=0)
    axes.plot(seconds, scores.mean(0), "o-", color=COLORS[row], markersize=3, label=row)


def run_study(study: Study, source: str, class_id: int) -> None:
    """Measure the rows of a study; write ablation.json, ablation.md and learning.svg into its folder.

    Args:
        study: What to train.
        source: Folder or .zip of DAGM2007, or synthetic://.
        class_id: DAGM2007 class, 1 to 10.

    Raises:
        UserError: if the configuration or the source is not valid.
        TrainingFailed: if a training ends without a model.
    """
    study.configuration(BASE, 0)  # raises for a bad size or number of steps before the work begins
    prepare(source, class_id, study)
    result = measure(study)
    with atomic_path(study.folder / "ablation.json") as part:
        part.write_text(json.dumps(result, indent=1) + "\n")
    with atomic_path(study.folder / "ablation.md") as part:
        part.write_text(table(result) + "\n")
    draw(result, study.folder / "learning.svg")
