"""What a dashboard gets of an evaluation: finite numbers, and counts in the right cells."""

import math

from tinyunet.evaluation.summary import confusion_matrix, scalars


def test_scalars_are_the_finite_numbers_of_test_and_the_threshold() -> None:
    scores = {
        "threshold": 0.4,
        "test": {"dice": 0.75, "image_ap": None, "tnr": math.nan, "images": 3, "pixel": {"tp": 1}},
    }
    assert scalars(scores) == {"dice": 0.75, "images": 3.0, "threshold": 0.4}


def test_rows_are_the_truth_and_columns_the_verdict() -> None:
    scores = {"test": {"image": {"tp": 5, "fp": 2, "fn": 1, "tn": 9}}}
    assert confusion_matrix(scores) == [[9, 2], [1, 5]]
