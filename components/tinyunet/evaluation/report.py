"""The evaluation as an HTML page (report.html) and as a model card (model_card.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tinyunet.core.documents.evaluation import ConfusionCounts, Evaluation
from tinyunet.core.documents.factory import DefectSize, Factory, Share
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.presets import find_preset
from tinyunet.evaluation import curves, overlays
from tinyunet.evaluation.rendering import render
from tinyunet.evaluation.summary import line_words
from tinyunet.model.metrics import NVIDIA_THRESHOLDS

SCORE_NAMES = {
    "max": "largest logit",
    "top100": "mean of the 100 largest logits",
    "smoothed": "largest mean of 5×5 logits",
}

# (key, name, what the score measures)
SCORES = (
    ("dice_defective", "Dice, defective images", "2·TP / (2·TP + FP + FN) of each image, averaged"),
    ("iou_defective", "IoU, defective images", "TP / (TP + FP + FN) of each image, averaged"),
    ("pixel_ap", "Average precision, pixels", "ranking of all pixels of all images; 1 is perfect"),
    ("aupro", "AUPRO", "predicted fraction of each defect, averaged up to a false positive rate of 0.3"),
    ("pooled_iou", "IoU, pooled pixels", "all pixels of all images counted together"),
    ("image_ap", "Average precision, images", "ranking of images by score; 1 is perfect"),
    ("image_auroc", "AUROC, images", "chance that a defective image scores above a clean one"),
    ("tpr", "True positive rate, images", "defective images that are flagged"),
    ("tnr", "True negative rate, images", "clean images that pass"),
)
PUBLISHED_NAMES = {
    "dice_defective": "Dice, defective images (NVIDIA: implied)",
    "tpr": "TPR",
    "tnr": "TNR",
}
PUBLISHED_THRESHOLDS = (0.75, 0.99)


@dataclass(frozen=True)
class NvidiaIouRow:
    """NVIDIA's "IoU" at one threshold.

    Attributes:
        threshold: Pixel threshold, a probability.
        ours: The score of this model.
        floor: The score of a model that predicts nothing.
        above: Position of our score in the range from the floor (0) to 1 (1); None if the floor is 1.
        float32: NVIDIA's score, trained in float32; None where it is not comparable or not published.
        amp: NVIDIA's score, trained in mixed precision; None as above.
    """

    threshold: float
    ours: float
    floor: float
    above: float | None
    float32: float | None
    amp: float | None


@dataclass(frozen=True)
class ComparisonRow:
    """One score of this model, and NVIDIA's at each of `PUBLISHED_THRESHOLDS`."""

    name: str
    ours: float | None
    float32: tuple[float, ...]
    amp: tuple[float, ...]


def render_report(
    evaluation: Evaluation,
    svgs: Mapping[str, str],
    groups: Mapping[str, Sequence[overlays.Panel]],
) -> str:
    """Render report.html, a page that needs no other file and no network.

    Args:
        evaluation: The content of metrics.json.
        svgs: SVG elements by the name of the curve, from `curves.to_svg`. Only these are not escaped.
        groups: Panels of the `worst` and the `best` test images.
    """
    drawn = [{"title": curves.TITLES[name], "svg": Markup(svg)} for name, svg in svgs.items()]  # noqa: S704
    return render("report.html", **_template_values(evaluation), curves=drawn, groups=groups)


def render_card(evaluation: Evaluation) -> str:
    """Render model_card.md."""
    return render("model_card.md", **_template_values(evaluation))


def nvidia_rows(evaluation: Evaluation) -> list[NvidiaIouRow]:
    """Return NVIDIA's "IoU" of this model, and NVIDIA's own where comparable, one row per threshold."""
    floor, published = evaluation.test.nvidia_iou_floor, evaluation.nvidia_published
    rows = []
    for threshold in NVIDIA_THRESHOLDS:
        ours = evaluation.test.nvidia_iou[str(threshold)]
        above = (ours - floor) / (1 - floor) if floor < 1 else None
        float32, amp = None, None
        if published and threshold in published.thresholds:
            index = published.thresholds.index(threshold)
            float32, amp = published.float32.iou[index], published.amp.iou[index]
        rows.append(NvidiaIouRow(threshold, ours, floor, above, float32, amp))
    return rows


def comparison(evaluation: Evaluation) -> list[ComparisonRow]:
    """Return Dice, TPR and TNR of this model and of NVIDIA; empty where they are not comparable."""
    published = evaluation.nvidia_published
    if not published:
        return []
    indices = [published.thresholds.index(threshold) for threshold in PUBLISHED_THRESHOLDS]
    return [
        ComparisonRow(
            name,
            getattr(evaluation.test, key),
            tuple(getattr(published.float32, key)[i] for i in indices),
            tuple(getattr(published.amp, key)[i] for i in indices),
        )
        for key, name in PUBLISHED_NAMES.items()
    ]


def _template_values(evaluation: Evaluation) -> dict[str, object]:
    """Return the variables of both templates; `r` is the evaluation."""
    order = sorted(
        evaluation.images, key=lambda image: (not image.defective, image.dice or 0.0, -image.score)
    )
    return {
        "r": evaluation,
        "scores": SCORES,
        "rate_counts": _rate_counts(evaluation.test.image),
        "nvidia": nvidia_rows(evaluation),
        "comparison": comparison(evaluation),
        "images": order,
        "legend": overlays.LEGEND,
        "provenance": _provenance(evaluation),
        "settings": _settings(evaluation.model),
        "goal": {name: getattr(evaluation, name) for name in ("target", "cost")},
        "line": line_words(evaluation.factory) if evaluation.factory else "",
        "shares": line_shares(evaluation.factory) if evaluation.factory else {},
        "size_name": size_name,
        "score_name": SCORE_NAMES[evaluation.image_score],
    }


def line_shares(factory: Factory) -> dict[str, Share]:
    """Return the defined shares of a production line by their names."""
    shares = {
        "Defects found": factory.found,
        "Defective parts passed": factory.passed,
        "Good parts stopped": factory.stopped,
    }
    return {name: share for name, share in shares.items() if share is not None and share.of}


def size_name(size: DefectSize) -> str:
    """Return a range of areas in words."""
    return f"{size.smallest:,}–{size.largest:,}" if size.largest else f"{size.smallest:,} and more"


def _rate_counts(image: ConfusionCounts) -> dict[str, tuple[int, int]]:
    """Return the numerator and the denominator of both rates of images."""
    return {
        "tpr": (image.tp, image.tp + image.fn),
        "tnr": (image.tn, image.tn + image.fp),
    }


def _settings(model: ModelDocument) -> list[str]:
    """Return the options, as `key=value`, in which the training differs from its preset.

    The precision is the one that was used, where the configuration said `auto`.
    """
    preset = find_preset(model.train.preset).to_dict()
    used = model.train.to_dict() | {"precision": model.precision}
    return [f"{key}={value}" for key, value in used.items() if value != preset.get(key)]


def _provenance(evaluation: Evaluation) -> dict[str, dict[str, object]]:
    """Return configuration and provenance as tables: title → name → value."""
    model, data = evaluation.model, evaluation.data
    return {
        "Model": {
            "preset": model.preset,
            "steps": model.steps,
            "seed": model.seed,
            "precision": model.precision,
            "world size": model.world_size,
            "parameters": model.parameters,
            "image size": model.image_size or "native",
            "scale of the images": model.scale,
            "git revision": model.git_revision,
            "lock digest": model.lock_digest,
            "model.keras SHA-256": model.sha256,
            "MLflow run": model.mlflow.run_id if model.mlflow else None,
        },
        "Data": {
            "source": data.source,
            "Data set": data.title,
            "image files": ", ".join(data.pixels) or None,
            "masks": data.masks or None,
            **{
                f"{name} images": f"{split.images}, {split.defective} defective"
                for name, split in data.splits.items()
            },
            "validation": f"{data.validation_fraction:g} of Train, fold {data.fold}",
            "records digest": data.digest,
            "source digest": data.source_digest,
            "test digest": data.test_digest,
        },
        "Evaluation": {
            "test-time poses": evaluation.test_time_poses,
            "evaluated at": evaluation.evaluated_at,
            **evaluation.versions,
        },
        "Training configuration": model.train.to_dict(),
    }
