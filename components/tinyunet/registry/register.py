"""Judged models in MLflow's registry: versions, and the alias `champion` for the best of them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyunet.core.errors import UserError, require
from tinyunet.core.files import read_json
from tinyunet.evaluation.summary import headline
from tinyunet.registry.champion import VersionScores, decide
from tinyunet.registry.logged_model import log_model
from tinyunet.tracking.client import (
    MAX_TEXT,
    RUN_KEY,
    create_run,
    experiment_id,
    find_run,
    log_run_data,
    log_path,
    mlflow_errors,
    open_client,
)
from tinyunet.tracking.download import MODEL_FILES, WEIGHTS_DIGEST, training_artifact_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
ABOUT = (
    "Finds and outlines surface defects on the texture of DAGM2007 class {class_id}. `champion` is the "
    "version to use. A version's description is its model card; its tags say why it is champion or not."
)
MODEL_KEY = "tinyunet.model_key"
REASON = "tinyunet.champion_reason"
NOTE = "mlflow.note.content"  # what the page of a run shows first, as Markdown
OURS = "Test: "  # how a description of ours begins
EVALUATION_FILES = ("report.html", "model_card.md", "metrics.json", "curves", "overlays")


def register(model: Path, evaluation: Path, *, name: str = "") -> dict[str, Any]:
    """Make a model version of a judged model, in the run of its training, and decide on the champion.

    The model folder, scores, report, model card, curves and overlays go to the run; the same model judged the
    same way gives the same version again.

    Args:
        model: Model folder.
        evaluation: Evaluation folder of that model.
        name: Registered model; default tinyunet-dagm-class<N>.

    Returns:
        name, version, champion (whether it is that now), reason, run_id, uri, and evaluation: the folder of
        the run's artifacts that has the report.

    Raises:
        UserError: if the folders do not fit each other or MLflow cannot be reached.
    """
    summary, metrics = read_json(model / "model.json"), read_json(evaluation / "metrics.json")
    sha256 = _file_digest(model / "model.keras")
    if metrics["model"].get("sha256", sha256) != sha256:
        raise UserError(f"{evaluation} judges another model than {model}; give its own evaluation")
    require(bool(summary.get(WEIGHTS_DIGEST)), WEIGHTS_DIGEST, summary.get(WEIGHTS_DIGEST), f"a digest in {model}: train it again")
    name = name or f"tinyunet-dagm-class{summary['class_id']}"
    with mlflow_errors(short_timeout=True):
        client = open_client()
        run_id = _training_run(client, summary, sha256)
    with mlflow_errors():
        _log_files(client, run_id, model, MODEL_FILES, training_artifact_path(summary[WEIGHTS_DIGEST]))
        key = _model_key(sha256, metrics)
        place = f"evaluation/{key}"
        _log_files(client, run_id, evaluation, EVALUATION_FILES, place)
        _log_scores(client, run_id, metrics, place)
        version = _find_version(client, name, key)
        version = version or _make_version(client, run_id, name, key, model=model, evaluation=evaluation)
        client.set_model_version_tag(name, version, WEIGHTS_DIGEST, summary[WEIGHTS_DIGEST])  # older versions have none
        champion, reason = _crown(client, run_id, name, version)
    return {
        "name": name,
        "version": version,
        "champion": champion,
        "reason": reason,
        "run_id": run_id,
        "uri": f"models:/{name}/{version}",
        "evaluation": place,
    }


def _training_run(client: "MlflowClient", summary: dict[str, Any], sha256: str) -> str:
    """Give the training's own run; where this store does not know it, one made for the model."""
    from mlflow.exceptions import MlflowException

    reference = summary.get("mlflow") or {}
    if run_id := reference.get("run_id"):
        try:
            return str(client.get_run(run_id).info.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    run_key, experiment = f"model-{sha256[:16]}", experiment_id(client)
    if known := find_run(client, experiment, run_key):
        return known
    title = f"class{summary['class_id']}-{summary['preset']}-{summary['image_size']}px-seed{summary['seed']}"
    run_id = create_run(client, experiment, run_key, name=title, source="tinyunet register")
    log_run_data(client, run_id, params=summary["train"], tags={RUN_KEY: run_key, WEIGHTS_DIGEST: summary[WEIGHTS_DIGEST]})
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _log_scores(client: "MlflowClient", run_id: str, metrics: dict[str, Any], place: str) -> None:
    """Give the run its scores; those on other test images than the run's are the version's alone."""
    digest, data = metrics["data"]["test_digest"], client.get_run(run_id).data
    if data.tags.get("test_digest") == digest or not any(name.startswith("test_") for name in data.metrics):
        mine = data.tags.get(NOTE, OURS).startswith(OURS)  # what a person wrote stays
        where = f"Report: {place}/report.html, under Artifacts"
        note = f"{OURS}{headline(metrics)}\n\n{metrics['comparability']}\n\n{where}"
        tags = {"test_digest": digest} | ({NOTE: note} if mine else {})
        log_run_data(client, run_id, metrics=_scores(metrics), tags=tags)


def _log_files(client: "MlflowClient", run_id: str, folder: Path, names: Sequence[str], place: str) -> None:
    for path in (folder / name for name in names):
        if path.exists():
            log_path(client, run_id, path, f"{place}/{path.name}" if path.is_dir() else place)


def _scores(metrics: dict[str, Any]) -> dict[str, float]:
    """Give the scores of metrics.json as MLflow metrics: test_…, the main ones as validation_…, threshold."""
    test, validation = metrics["test"], metrics["validation"]
    flat = {"threshold": metrics["threshold"], **{f"test_{key}": value for key, value in test.items()}}
    flat |= {f"test_nvidia_iou_{key}": value for key, value in test["nvidia_iou"].items()}
    for key, bounds in test["bootstrap"].items():
        flat |= dict(zip((f"test_{key}_p5", f"test_{key}_p95"), bounds or (), strict=False))
    flat |= {f"validation_{key}": validation[key] for key in ("dice_defective", "image_ap")}
    return {key: float(value) for key, value in flat.items() if isinstance(value, int | float)}


def _model_key(sha256: str, metrics: dict[str, Any]) -> str:
    test = metrics["test"]
    facts = [
        sha256,
        metrics["threshold"],
        test["image_threshold"],
        test["dice_defective"],
        metrics["data"]["test_digest"],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _find_version(client: "MlflowClient", name: str, key: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}' and tags.`{MODEL_KEY}` = '{key}'")
    return str(found[0].version) if found else None


def _make_version(
    client: "MlflowClient", run_id: str, name: str, key: str, *, model: Path, evaluation: Path
) -> str:
    from mlflow.exceptions import MlflowException

    summary, metrics = read_json(model / "model.json"), read_json(evaluation / "metrics.json")
    card = evaluation / "model_card.md"
    model_id = log_model(run_id, model, metrics)
    try:
        client.create_registered_model(name, description=ABOUT.format(class_id=summary["class_id"]))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        f"models:/{model_id}",
        run_id=run_id,
        tags={MODEL_KEY: key, **_version_tags(summary, metrics)},
        description=card.read_text()[:MAX_TEXT] if card.is_file() else None,
        model_id=model_id,
    )
    return str(version.version)


def _version_tags(summary: dict[str, Any], metrics: dict[str, Any]) -> dict[str, str]:
    tags = {
        "test_digest": metrics["data"]["test_digest"],
        "dice_defective": metrics["test"]["dice_defective"],
        "image_ap": metrics["test"]["image_ap"],
        "threshold": metrics["threshold"],
        "image_threshold": metrics["test"]["image_threshold"],
        "git_revision": summary["git_revision"],
        "preset": summary["preset"],
        "synthetic": metrics["data"]["synthetic"],
    }
    return {key: "" if value is None else str(value) for key, value in tags.items()}


def _crown(client: "MlflowClient", run_id: str, name: str, version: str) -> tuple[bool, str]:
    """Move the alias or leave it, and write the reason on version and run; a champion keeps its reason."""
    holder = client.get_registered_model(name).aliases.get(CHAMPION)
    champion, reason = decide(
        _standing(client, name, version), _standing(client, name, str(holder)) if holder else None
    )
    if str(holder) != version:
        if champion:
            client.set_registered_model_alias(name, CHAMPION, version)
        client.set_model_version_tag(name, version, REASON, reason)
        log_run_data(client, run_id, tags={"tinyunet.model_version": f"{name}/{version}", REASON: reason})
    return champion, reason


def _standing(client: "MlflowClient", name: str, version: str) -> VersionScores:
    """Read a version's scores; one that was not registered here has none and is on other test images."""
    tags = client.get_model_version(name, version).tags
    dice, ap = (float(tags.get(key) or 0) for key in ("dice_defective", "image_ap"))
    synthetic = tags.get("synthetic") == "True"
    return VersionScores(
        version, tags.get("test_digest", "unknown"), dice, ap, synthetic, tags.get(WEIGHTS_DIGEST, "")
    )


def _file_digest(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a model folder that `tinyunet train` wrote")
    return hashlib.sha256(path.read_bytes()).hexdigest()
