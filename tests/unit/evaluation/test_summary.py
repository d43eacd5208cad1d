"""The numbers of an evaluation for terminals and dashboards."""

import pytest

from tests.unit.examples import evaluation, factory, scores, share
from tinyunet.core.documents.evaluation import ConfusionCounts
from tinyunet.evaluation.summary import confusion_matrix, headline, line_words, scalars


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


def test_scalars_of_a_production_line_are_the_defined_rates() -> None:
    assert (
        scalars(evaluation(factory=factory())).items()
        >= {
            "defects_found_rate": 0.75,
            "false_alarms_per_1000": 30.0,
        }.items()
    )
    without = scalars(evaluation(factory=factory(false_alarms_per_1000=None)))
    assert "false_alarms_per_1000" not in without


def test_the_words_of_a_production_line() -> None:
    assert line_words(factory()) == (
        "Found 3 of 4 defects; 30 false alarms per 1,000 good parts; 0 of 1 defective part passed, "
        "1 of 100 good parts stopped"
    )


@pytest.mark.parametrize(
    ("rate", "words"), [(0.0, "0 false alarms"), (1.0, "1 false alarm per"), (0.43, "0.43 false alarms"),
                        (1250.4, "1,250 false alarms")],
)  # fmt: skip
def test_small_rates_of_false_alarms_are_not_rounded_to_zero(rate: float, words: str) -> None:
    assert words in line_words(factory(false_alarms_per_1000=rate))


def test_the_words_say_why_there_is_no_verdict() -> None:
    alone = factory(false_alarms_per_1000=None, passed=None, stopped=None)
    assert line_words(alone).endswith("4 defects; no verdict on parts, because Test has no good part")
    clean = factory(found=share(0, 0), passed=share(0, 0))
    assert line_words(clean).endswith("good parts; 1 of 100 good parts stopped")


def test_rows_of_the_confusion_matrix_are_the_truth_and_columns_the_verdict() -> None:
    counts = ConfusionCounts(tp=5, fp=2, fn=1, tn=9)
    assert confusion_matrix(evaluation(test=scores(image=counts))) == [[9, 2], [1, 5]]


def test_the_headline_names_an_undefined_score() -> None:
    assert headline(evaluation(test=scores(image_ap=None))) == (
        "Dice 0.800, IoU 0.700, image AP undefined, AUROC 1.000, TPR 1.000, TNR 0.500  "
        "(2 images, 1 defective; Dice and IoU of these)"
    )
