"""Judge a model: thresholds from validation, scores on Test, once; report, model card and pictures."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder, read_json
from tinyunet.data.dataset import MASK_LEVEL, load_split
from tinyunet.data.tfrecord import read_manifest
from tinyunet.evaluation import curves, overlays, report
from tinyunet.evaluation.inference import Judged, Predictor, judge, probabilities
from tinyunet.evaluation.results import summarize
from tinyunet.model.unet import rebuild
from tinyunet.training.model_folder import SCHEMA_VERSION as MODEL_SCHEMA
from tinyunet.training.model_folder import for_this_machine, load_model

MODEL_KEYS = ("image_size", "class_id", "data", "train")


def evaluate(model: Path, records: Path, out: Path, config: EvalConfig) -> dict[str, Any]:
    """Judge a trained model and write the evaluation folder.

    Args:
        model: Folder written by training (model.keras, model.json, history.csv).
        records: Folder of TFRecords with its manifest.json.
        out: Folder to make: metrics.json, report.html, model_card.md, curves/ and overlays/.
        config: How to judge.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: if model or records are missing, damaged, of another schema or do not fit each other.
    """
    identity, manifest = read_model(model), read_manifest(records)
    check_class(model, identity, records, manifest)
    with atomic_folder(out, marker="metrics.json") as part:
        predictor = Predictor(rebuild(for_this_machine(load_model(model / "model.keras"))), config)
        size = identity["image_size"]
        validation, test = (
            judge(predictor, load_split(records, name, size), config) for name in ("validation", "test")
        )
        result = summarize(identity, manifest, config, validation=validation, test=test)
        _write(part, result, predictor, test, curves.read_history(model / "history.csv"), config)
    return result


def read_model(model: Path) -> dict[str, Any]:
    """Read a model folder's model.json, and the digest of its weights as `sha256`.

    Raises:
        UserError: if the folder is not a trained model or has another schema.
    """
    if not (model / "model.keras").is_file():
        raise UserError(f"{model} holds no model.keras; expected a folder that `tinyunet train` made")
    identity = read_json(model / "model.json")
    if (found := identity.get("schema_version")) != MODEL_SCHEMA:
        raise UserError(
            f"{model}/model.json has schema {found}, expected {MODEL_SCHEMA}; train the model again"
        )
    if missing := [key for key in MODEL_KEYS if key not in identity]:
        raise UserError(f"{model}/model.json lacks {', '.join(missing)}; train the model again")
    digest = hashlib.sha256((model / "model.keras").read_bytes()).hexdigest()
    return {**identity, "sha256": digest}


def check_class(model: Path, identity: dict[str, Any], records: Path, manifest: dict[str, Any]) -> None:
    """Refuse records of another class than the model's.

    Raises:
        UserError: naming both.
    """
    if identity["class_id"] != manifest["class_id"]:
        raise UserError(
            f"{model} was trained on class {identity['class_id']}, {records} hold class "
            f"{manifest['class_id']}; expected the same class, choose other records"
        )


def _write(
    folder: Path,
    result: dict[str, Any],
    predictor: Predictor,
    test: Judged,
    history: curves.History,
    config: EvalConfig,
) -> None:
    figures = curves.draw(
        result["curves"], history, threshold=result["threshold"], operating_point=result["test"]
    )
    curves.save_png(figures, folder / "curves")
    worst, best = overlays.choose(result["images"], result["test"]["image_threshold"], config.overlays)
    groups = {"worst": _panels("worst", worst, result, predictor, test)}
    groups["best"] = _panels("best", best, result, predictor, test)
    overlays.save([panel for panels in groups.values() for panel in panels], folder / "overlays")
    svgs = {name: curves.to_svg(name, figure) for name, figure in figures.items()}
    (folder / "report.html").write_text(report.render_report(result, svgs, groups), encoding="utf-8")
    (folder / "model_card.md").write_text(report.render_card(result), encoding="utf-8")
    (folder / "metrics.json").write_text(
        json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def _panels(
    group: str, chosen: list[int], result: dict[str, Any], predictor: Predictor, test: Judged
) -> list[overlays.Panel]:
    if not chosen:
        return []
    panels = []
    maps = probabilities(predictor, test.split, chosen)
    for rank, (i, probability) in enumerate(zip(chosen, maps, strict=True), start=1):
        row = result["images"][i]
        picture = overlays.panel(
            test.split.images[i], test.split.masks[i] >= MASK_LEVEL, probability, result["threshold"]
        )
        file = overlays.file_name(rank, group, row["name"])
        caption = overlays.caption(row, result["test"]["image_threshold"])
        panels.append(overlays.Panel(row["name"], file, caption, picture))
    return panels
