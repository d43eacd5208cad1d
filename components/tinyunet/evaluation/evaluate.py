"""Evaluate a model: choose thresholds on the validation split, compute scores on Test, and write reports."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tinyunet.core.categories import DAGM
from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.evaluation import EvaluatedModel, Evaluation
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder
from tinyunet.data.dataset import load_split
from tinyunet.data.raw import SOURCES
from tinyunet.evaluation import curves, overlays, report
from tinyunet.evaluation.inference import Predictor, SplitResult, evaluate_split, reduced
from tinyunet.evaluation.reference import describe_images
from tinyunet.evaluation.results import summarize
from tinyunet.evaluation.thresholds import best_image_score, pixel_threshold
from tinyunet.model.metrics import TOP_PIXELS
from tinyunet.model.unet import rebuild
from tinyunet.training.keras_file import for_this_machine, load_model
from tinyunet.training.model_folder import read_model

RECORDS = "records.json"  # a copy of the records' manifest


def evaluate(model: Path, records: Path, out: Path, config: EvalConfig) -> Evaluation:
    """Evaluate a trained model and write the evaluation folder.

    Args:
        model: Folder that a training wrote (model.keras, model.json, history.csv).
        records: Folder of TFRecords with its manifest.json.
        out: Folder to write: metrics.json, report.html, model_card.md, reference.json, curves/, overlays/,
            and the origin of the records: records.json (their manifest) and sources.json.
        config: Configuration of the evaluation.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: if the model or the records are missing, damaged or of another schema version, or if they
            are of different classes or at different scales.
    """
    document, manifest = read_evaluated_model(model), RecordsManifest.read(records)
    check_class(model, document, records, manifest)
    origin = read_origin(records)
    with atomic_folder(out, marker=Evaluation.FILE) as part:
        predictor = Predictor(rebuild(for_this_machine(load_model(model / "model.keras"))), config)
        validation, test, config = evaluate_splits(
            predictor, records, document.image_size, fix_image_score(config, manifest.dataset)
        )
        result = summarize(document, manifest, config, validation=validation, test=test, source=origin)
        _write(part, result, predictor, test, curves.read_history(model / "history.csv"), config)
        describe_images(document, validation, result.validation.image_threshold).write(part)
        _copy_origin(records, part)
    return result


def fix_image_score(config: EvalConfig, dataset: str) -> EvalConfig:
    """Return the configuration with the published image score for DAGM2007, if it is `auto`."""
    published = config.image_score == "auto" and dataset == DAGM
    return config.replace({"image_score": "max"}) if published else config


def evaluate_splits(
    predictor: Predictor, records: Path, image_size: int, config: EvalConfig
) -> tuple[SplitResult, SplitResult, EvalConfig]:
    """Predict validation and Test; the image score is chosen on validation if it is `auto`.

    Returns:
        The results of validation and of Test, and the configuration with the chosen image score.
    """
    validation = evaluate_split(predictor, load_split(records, "validation", image_size), config)
    rankings = validation.rankings
    if validation.counts.pixels.min() < TOP_PIXELS:  # exported models compute only the largest logit of these
        rankings = dict(list(rankings.items())[:1])
    kind = best_image_score(rankings, validation.split.defective)
    config = config.replace({"image_score": kind})
    validation = replace(validation, scores=validation.rankings[kind])
    threshold = pixel_threshold(validation.counts, validation.split.defective).value
    test = evaluate_split(predictor, load_split(records, "test", image_size), config, threshold)
    return validation, test, config


def read_origin(records: Path) -> RawManifest | None:
    """Return the description of the images of the records; None if the records are older than it."""
    path = records / SOURCES
    return RawManifest.parse(path.read_bytes(), str(path)) if path.is_file() else None


def _copy_origin(records: Path, folder: Path) -> None:
    """Copy the manifest of the records and the digests of their images, which older records lack."""
    shutil.copy(records / RecordsManifest.FILE, folder / RECORDS)
    if (records / SOURCES).is_file():
        shutil.copy(records / SOURCES, folder / SOURCES)


def read_evaluated_model(folder: Path) -> EvaluatedModel:
    """Read the model.json of a model folder and compute the SHA-256 of its model.keras.

    Raises:
        UserError: if the folder is not that of a trained model, or has another schema version.
    """
    document = read_model(folder)
    digest = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    return EvaluatedModel(**dict(document), sha256=digest)


def check_class(model: Path, document: ModelDocument, records: Path, manifest: RecordsManifest) -> None:
    """Check that a model and records are of the same class and at the same scale.

    Raises:
        UserError: if they differ in one of these; the message names both.
    """
    if (document.dataset, document.category) != (manifest.dataset, manifest.category):
        raise UserError(
            f"{model} was trained on {document.title}, but {records} hold {manifest.title}; expected the "
            "same: choose other records"
        )
    if document.scale != manifest.scale:
        raise UserError(
            f"{model} was trained at scale {document.scale:g}, but {records} hold images at scale "
            f"{manifest.scale:g}; expected the same: convert with scale={document.scale:g}"
        )


def _write(
    folder: Path,
    result: Evaluation,
    predictor: Predictor,
    test: SplitResult,
    history: curves.History,
    config: EvalConfig,
) -> None:
    figures = curves.draw(result.curves, history, threshold=result.threshold, scores=result.test)
    curves.save_png(figures, folder / "curves")
    worst, best = overlays.choose(result.images, result.test.image_threshold, config.overlays)
    groups = {
        "worst": _draw_panels("worst", worst, result, predictor, test),
        "best": _draw_panels("best", best, result, predictor, test),
    }
    overlays.save([panel for panels in groups.values() for panel in panels], folder / "overlays")
    svgs = {name: curves.to_svg(name, figure) for name, figure in figures.items()}
    (folder / "report.html").write_text(report.render_report(result, svgs, groups), encoding="utf-8")
    (folder / "model_card.md").write_text(report.render_card(result), encoding="utf-8")
    result.write(folder)


def _draw_panels(
    group: str, indices: Sequence[int], result: Evaluation, predictor: Predictor, test: SplitResult
) -> list[overlays.Panel]:
    if not indices:
        return []
    panels = []
    parts = reduced(predictor, test.split, indices, overlays.PANEL_SIDE)
    for rank, (i, (pixels, label, probability)) in enumerate(zip(indices, parts, strict=True), start=1):
        image = result.images[i]
        picture = overlays.draw_panel(pixels, label, probability, result.threshold)
        file = overlays.file_name(rank, group, image.name)
        caption = overlays.caption(image, result.test.image_threshold)
        panels.append(overlays.Panel(image.name, file, caption, picture))
    return panels
