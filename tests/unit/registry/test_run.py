"""Scores of an evaluation as MLflow metrics."""

from tests.unit.examples import evaluation, scores
from tinyunet.core.documents.evaluation import Bootstrap
from tinyunet.registry.run import mlflow_metrics


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


def test_an_undefined_score_is_not_a_metric() -> None:
    undefined = scores(dice_defective=None, bootstrap=Bootstrap(dice_defective=None))
    metrics = mlflow_metrics(evaluation(test=undefined, validation=undefined))
    assert not [name for name in metrics if "dice_defective" in name]
