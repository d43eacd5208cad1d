"""The evaluation as a page for people (report.html) and as a model card (model_card.md)."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from tinyunet.core.presets import find_preset
from tinyunet.evaluation import curves, overlays
from tinyunet.model.metrics import NVIDIA_THRESHOLDS

UNDEFINED = "–"
SCORE_NAMES = {
    "max": "largest logit",
    "top100": "mean of the 100 largest logits",
    "smoothed": "largest mean of 5×5 logits",
}

# (key, name, what it measures)
SCORES = (
    ("dice_defective", "Dice, defective images", "2·TP / (2·TP + FP + FN) of each image, averaged"),
    ("iou_defective", "IoU, defective images", "TP / (TP + FP + FN) of each image, averaged"),
    ("pooled_iou", "IoU, pooled pixels", "all pixels of all images counted together"),
    ("image_ap", "Average precision, images", "ranking of images by score; 1 is perfect"),
    ("image_auroc", "AUROC, images", "chance that a defective image scores above a clean one"),
    ("tpr", "True positive rate, images", "defective images that are flagged"),
    ("tnr", "True negative rate, images", "clean images that pass"),
)


def render_report(
    result: Mapping[str, Any],
    svgs: Mapping[str, str],
    groups: Mapping[str, Sequence[overlays.Panel]],
) -> str:
    """Render report.html: one page that needs no other file and no network.

    Args:
        result: The content of metrics.json.
        svgs: Our own SVG elements by curve name; the only text that is not escaped.
        groups: Panels of the `worst` and the `best` test images.
    """
    drawn = [{"title": curves.TITLES[name], "svg": Markup(svg)} for name, svg in svgs.items()]  # noqa: S704
    return render("report.html", **_view(result), curves=drawn, groups=groups)


def render_card(result: Mapping[str, Any]) -> str:
    """Render model_card.md."""
    return render("model_card.md", **_view(result))


def render(template: str, **content: object) -> str:
    """Fill one of the templates beside this file; text is escaped in HTML."""
    return _environment().get_template(template).render(**content)


def number(value: float | None, digits: int = 3) -> str:
    """Format a score; a dash where no image defines it."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def mean(values: Iterable[float | None]) -> float | None:
    """Average; None where one is missing, or there is none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return fmean(known) if known and len(known) == len(found) else None


def percent(value: float | None) -> str:
    """Format a rate; a dash where no image defines it."""
    return UNDEFINED if value is None else f"{100 * value:.1f} %"


def count(value: int) -> str:
    """Format a count with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def code(text: str) -> str:
    """Make a text safe inside Markdown code."""
    return " ".join(text.replace("`", "'").split())


def nvidia_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give one row per threshold: ours, the floor, our part of the way from it to 1, and NVIDIA's."""
    floor, theirs = result["test"]["nvidia_iou_floor"], result["nvidia_published"]
    rows = []
    for threshold in NVIDIA_THRESHOLDS:
        ours = result["test"]["nvidia_iou"][str(threshold)]
        row = {"threshold": threshold, "ours": ours, "floor": floor, "float32": None, "amp": None}
        row["above"] = (ours - floor) / (1 - floor) if floor < 1 else None
        if theirs and threshold in theirs["thresholds"]:
            at = theirs["thresholds"].index(threshold)
            row |= {precision: theirs[precision]["iou"][at] for precision in ("float32", "amp")}
        rows.append(row)
    return rows


def comparison(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give Dice, TPR and TNR beside NVIDIA's at 0.75 and 0.99; empty where not comparable."""
    theirs = result["nvidia_published"]
    if not theirs:
        return []
    at = [theirs["thresholds"].index(threshold) for threshold in (0.75, 0.99)]
    names = {"dice_defective": "Dice, defective images (NVIDIA: implied)", "tpr": "TPR", "tnr": "TNR"}
    return [
        {
            "name": name,
            "ours": result["test"][key],
            "float32": [theirs["float32"][key][i] for i in at],
            "amp": [theirs["amp"][key][i] for i in at],
        }
        for key, name in names.items()
    ]


def _view(result: Mapping[str, Any]) -> dict[str, Any]:
    order = sorted(
        result["images"], key=lambda row: (not row["defective"], row["dice"] or 0.0, -row["score"])
    )
    return {
        "r": result,
        "scores": SCORES,
        "flagged": _rates(result["test"]["image"]),
        "nvidia": nvidia_rows(result),
        "comparison": comparison(result),
        "images": order,
        "legend": overlays.LEGEND,
        "facts": _facts(result),
        "settings": _settings(result["model"]),
        "score_name": SCORE_NAMES[result["image_score"]],
    }


def _rates(image: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Give both rates of images as counts: right ones, and all of that kind."""
    return {
        "tpr": (image["tp"], image["tp"] + image["fn"]),
        "tnr": (image["tn"], image["tn"] + image["fp"]),
    }


def _settings(model: Mapping[str, Any]) -> list[str]:
    """Give the `key=value` settings that make the training out of its preset, in the precision it had."""
    train = model["train"]
    base = find_preset(train["preset"]).to_dict()
    train = {**train, "precision": model.get("precision", train["precision"])}
    return [f"{key}={value}" for key, value in train.items() if value != base.get(key)]


def _facts(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give configuration and provenance as tables: title → name → value."""
    model, data = result["model"], result["data"]
    plain = ("preset", "steps", "seed", "precision", "world_size", "parameters", "image_size")
    origin = {"git_revision": "git revision", "lock_digest": "lock digest", "sha256": "model.keras SHA-256"}
    return {
        "Model": {
            **{key.replace("_", " "): model[key] for key in plain if key in model},
            **{name: model.get(key) for key, name in origin.items()},
            "MLflow run": (model.get("mlflow") or {}).get("run_id"),
        },
        "Data": {
            "source": data["source"],
            "DAGM2007 class": data["class_id"],
            **{
                f"{name} images": f"{s['images']}, {s['defective']} defective"
                for name, s in data["splits"].items()
            },
            "validation": f"{data['validation_fraction']:g} of Train, fold {data['fold']}",
            "records digest": data["digest"],
            "source digest": data["source_digest"],
            "test digest": data["test_digest"],
        },
        "Evaluation": {
            "test-time poses": result["test_time_poses"],
            "evaluated at": result["evaluated_at"],
            **result["versions"],
        },
        "Training configuration": model["train"],
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"]),  # names of images are not ours
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "mean": mean,
        "number": number,
        "percent": percent,
        "count": count,
        "code": code,
        "quote": shlex.quote,
    }
    return environment
