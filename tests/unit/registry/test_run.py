"""The run of a version in a real database, and the scores of an evaluation as MLflow metrics."""

from pathlib import Path

import mlflow
import pytest

from tests.unit.examples import evaluated_model, evaluation, factory, scores
from tinyunet.core.documents.evaluation import Bootstrap, EvaluatedModel
from tinyunet.core.documents.model import MlflowReference
from tinyunet.core.errors import UserError
from tinyunet.registry.run import find_or_create_run, mlflow_metrics
from tinyunet.tracking.client import experiment_id

FOLDER = Path("absent")  # a model folder without history.csv


def test_metrics_are_the_threshold_all_scores_on_test_and_the_main_ones_on_validation() -> None:
    validation = scores(dice_defective=0.6, image_ap=0.5)
    assert mlflow_metrics(evaluation(validation=validation)) == {
        "test_dice_defective": 0.8,
        "test_iou_defective": 0.7,
        "test_pooled_iou": 0.6,
        "test_nvidia_iou_floor": 0.877,
        "test_image_ap": 1.0,
        "test_image_auroc": 1.0,
        "test_tpr": 1.0,
        "test_tnr": 0.5,
        "test_image_threshold": 0.5,
        **{f"test_nvidia_iou_{t}": 0.9 for t in (0.05, 0.125, 0.25, 0.5, 0.75, 0.85, 0.95, 0.99)},
        "test_dice_defective_p5": 0.7,
        "test_dice_defective_p95": 0.9,
        "threshold": 0.5,
        "validation_dice_defective": 0.6,
        "validation_image_ap": 0.5,
    }


def test_metrics_have_the_rates_of_a_production_line_and_the_rankings_of_pixels() -> None:
    result = evaluation(factory=factory(), test=scores(pixel_ap=0.6, aupro=0.5))
    assert (
        mlflow_metrics(result).items()
        >= {
            "test_defects_found_rate": 0.75,
            "test_false_alarms_per_1000": 30.0,
            "test_pixel_ap": 0.6,
            "test_aupro": 0.5,
        }.items()
    )


def test_an_undefined_score_is_not_a_metric() -> None:
    undefined = scores(dice_defective=None, bootstrap=Bootstrap(dice_defective=None))
    metrics = mlflow_metrics(evaluation(test=undefined, validation=undefined))
    assert not [name for name in metrics if "dice_defective" in name]


def with_run(run_id: str) -> EvaluatedModel:
    reference = MlflowReference(tracking_uri="x", run_id=run_id)
    return evaluated_model(mlflow=reference)


def test_registration_records_the_end_of_a_training_during_which_mlflow_did_not_answer(
    client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    run_id = client.create_run(experiment_id(client)).info.run_id
    (tmp_path / "history.csv").write_text("step,loss,validation_dice\n1,3,\n2,2,0.5\n3,1,\n")
    client.log_metric(run_id, "loss", 3.0, step=1)
    assert find_or_create_run(client, tmp_path, with_run(run_id)) == run_id
    run = client.get_run(run_id)
    for name, points in {"loss": [(1, 3), (2, 2), (3, 1)], "validation_dice": [(2, 0.5)]}.items():
        assert [(one.step, one.value) for one in client.get_metric_history(run_id, name)] == points
    assert (run.info.status, run.data.tags["weights_digest"]) == ("FINISHED", with_run("").weights_digest)


def test_a_run_whose_registration_was_killed_while_it_was_created_is_completed(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tinyunet.registry.run.log_run_data", None)
        with pytest.raises(TypeError):
            find_or_create_run(client, FOLDER, with_run("0" * 32))
    run = client.get_run(find_or_create_run(client, FOLDER, with_run("0" * 32)))
    assert [one.info.run_id for one in client.search_runs([experiment_id(client)])] == [run.info.run_id]
    assert run.info.status == "FINISHED"
    assert run.data.tags["weights_digest"] == with_run("").weights_digest
    assert "seed" in run.data.params


def test_a_deleted_run_is_restored_and_reported(
    client: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    run = client.create_run(experiment_id(client)).info.run_id
    assert find_or_create_run(client, FOLDER, with_run(run)) == run
    assert capsys.readouterr().err == ""
    client.delete_run(run)
    assert find_or_create_run(client, FOLDER, with_run(run)) == run
    assert client.get_run(run).info.lifecycle_stage == "active"
    assert capsys.readouterr().err.startswith(f"the MLflow run {run} was deleted; it is restored")


def test_a_run_of_a_deleted_experiment_is_replaced_by_a_run_of_the_present_one(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = experiment_id(client)
    run = client.create_run(experiment).info.run_id
    client.delete_experiment(experiment)
    with pytest.raises(UserError, match="the MLflow experiment 'tinyunet' is deleted"):
        find_or_create_run(client, FOLDER, with_run(run))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    other = find_or_create_run(client, FOLDER, with_run(run))
    assert client.get_run(other).info.experiment_id == experiment_id(client)
    assert capsys.readouterr().err == (
        f"the experiment 'tinyunet' of the MLflow run {run} is deleted; another run is used\n"
    )
    client.delete_run(other)
    assert find_or_create_run(client, FOLDER, with_run(run)) not in (run, other)


def test_a_run_that_this_server_does_not_have_is_replaced_by_a_new_run(client: mlflow.MlflowClient) -> None:
    new = find_or_create_run(client, FOLDER, with_run("0" * 32))
    assert client.get_run(new).info.status == "FINISHED"
    assert find_or_create_run(client, FOLDER, with_run("0" * 32)) == new
