"""The numbers of an evaluation for terminals and dashboards."""

from tests.unit.examples import evaluation, scores
from tinyunet.core.documents.evaluation import ConfusionCounts
from tinyunet.evaluation.summary import confusion_matrix, headline, scalars


def test_scalars_are_the_threshold_and_the_defined_scores_on_test() -> None:
    result = evaluation(threshold=0.4, test=scores(image_ap=None, tnr=float("nan"), image_threshold=2.0))
    assert scalars(result) == {
        "dice_defective": 0.8,
        "iou_defective": 0.7,
        "pooled_iou": 0.6,
        "nvidia_iou_floor": 0.877,
        "image_auroc": 1.0,
        "tpr": 1.0,
        "image_threshold": 2.0,
        "threshold": 0.4,
    }


def test_rows_of_the_confusion_matrix_are_the_truth_and_columns_the_verdict() -> None:
    counts = ConfusionCounts(tp=5, fp=2, fn=1, tn=9)
    assert confusion_matrix(evaluation(test=scores(image=counts))) == [[9, 2], [1, 5]]


def test_the_headline_names_an_undefined_score() -> None:
    assert headline(evaluation(test=scores(image_ap=None))) == (
        "Dice 0.800, IoU 0.700, image AP undefined, AUROC 1.000, TPR 1.000, TNR 0.500  "
        "(2 images, 1 defective; Dice and IoU of these)"
    )
