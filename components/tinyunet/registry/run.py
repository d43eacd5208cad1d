"""The MLflow run to which a model version belongs: its files, scores and description."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.core.console import say
from tinyunet.core.documents.evaluation import EvaluatedModel, Evaluation
from tinyunet.data.raw import SOURCES
from tinyunet.evaluation.curves import read_history
from tinyunet.evaluation.evaluate import RECORDS
from tinyunet.evaluation.summary import factory_scalars, headline
from tinyunet.tracking.client import create_run, experiment_id, find_run, log_path, log_run_data
from tinyunet.tracking.deletion import ACTIVE
from tinyunet.tracking.download import WEIGHTS_DIGEST
from tinyunet.tracking.history import complete_history

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVALUATION_FILES = ("report.html", "model_card.md", "metrics.json", RECORDS, SOURCES, "curves", "overlays")
NOTE = "mlflow.note.content"  # the description of a run, in Markdown
NOTE_PREFIX = "Test: "  # the beginning of the descriptions that `log_scores` writes


def find_or_create_run(client: "MlflowClient", folder: Path, model: EvaluatedModel) -> str:
    """Return the run of the training; if it cannot be used, find or create a run for this model.

    Args:
        client: Client of the tracking server.
        folder: Model folder, for the metrics of the steps.
        model: Content of its model.json.
    """
    if model.mlflow and model.mlflow.run_id and _is_usable(client, model.mlflow.run_id):
        _complete(client, model.mlflow.run_id, folder, model.weights_digest)
        return model.mlflow.run_id
    run_key, experiment = f"model-{model.sha256[:16]}", experiment_id(client)
    title = f"{model.full_name}-{model.preset}-{model.train.size_tag}-seed{model.seed}"
    run_id = find_run(client, experiment, run_key) or create_run(
        client, experiment, run_key, name=title, source="tinyunet register",
        identity={WEIGHTS_DIGEST: model.weights_digest},
    )  # fmt: skip
    log_run_data(client, run_id, params=model.train.to_dict())  # a command that was killed has not done so
    _complete(client, run_id, folder, model.weights_digest)
    return run_id


def _is_usable(client: "MlflowClient", run_id: str) -> bool:
    """Return whether the server has a run in an experiment that is not deleted; restore a deleted run."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    experiment = client.get_experiment(run.experiment_id)
    if experiment.lifecycle_stage != ACTIVE:
        experiment_id(client)  # raises an error if the current experiment is deleted, too
        say(f"the experiment {experiment.name!r} of the MLflow run {run_id} is deleted; another run is used")
        return False
    if run.lifecycle_stage != ACTIVE:
        client.restore_run(run_id)
        say(f"the MLflow run {run_id} was deleted; it is restored, because this model belongs to it")
    return True


def _complete(client: "MlflowClient", run_id: str, folder: Path, weights_digest: str) -> None:
    """Record the end of a training, if MLflow did not answer when the training ended."""
    run = client.get_run(run_id)
    if run.data.tags.get(WEIGHTS_DIGEST) is None:
        log_run_data(client, run_id, tags={WEIGHTS_DIGEST: weights_digest})
    if run.info.status != "FINISHED":
        complete_history(client, run_id, read_history(folder / "history.csv"))
        client.set_terminated(run_id, "FINISHED")


def log_files(
    client: "MlflowClient", run_id: str, folder: Path, names: Sequence[str], artifact_path: str
) -> None:
    """Store files and subfolders of a folder as artifacts of a run; names that do not exist are skipped."""
    for path in (folder / name for name in names):
        if path.exists():
            target = f"{artifact_path}/{path.name}" if path.is_dir() else artifact_path
            log_path(client, run_id, path, target)


def log_scores(client: "MlflowClient", run_id: str, evaluation: Evaluation, artifact_path: str) -> None:
    """Log the scores of an evaluation and a description to a run.

    If the run already has scores on other test images, nothing is logged: the tags of the version contain the
    new scores. A description that a user wrote is not changed.

    Args:
        client: Client of the tracking server.
        run_id: The run.
        evaluation: The evaluation.
        artifact_path: Folder of the run's artifacts that contains the report.
    """
    digest, data = evaluation.data.test_digest, client.get_run(run_id).data
    has_scores = any(name.startswith("test_") for name in data.metrics)
    if has_scores and data.tags.get("test_digest") != digest:
        return
    tags = {"test_digest": digest}
    if data.tags.get(NOTE, NOTE_PREFIX).startswith(NOTE_PREFIX):
        report = f"Report: {artifact_path}/report.html, under Artifacts"
        tags[NOTE] = f"{NOTE_PREFIX}{headline(evaluation)}\n\n{evaluation.comparability}\n\n{report}"
    log_run_data(client, run_id, metrics=mlflow_metrics(evaluation), tags=tags)


def mlflow_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the threshold, all defined scores on Test (test_…) and the main ones on validation."""
    test, validation = evaluation.test, evaluation.validation
    values = {f"test_{key}": value for key, value in test}
    values |= {f"test_nvidia_iou_{threshold}": value for threshold, value in test.nvidia_iou.items()}
    if bounds := test.bootstrap.dice_defective:
        values |= {"test_dice_defective_p5": bounds[0], "test_dice_defective_p95": bounds[1]}
    values |= {f"test_{name}": value for name, value in factory_scalars(evaluation).items()}
    values |= {
        "threshold": evaluation.threshold,
        "validation_dice_defective": validation.dice_defective,
        "validation_image_ap": validation.image_ap,
    }
    return {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
