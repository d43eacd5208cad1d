import numpy as np
import pytest

from tinyunet.core.config import EvalConfig
from tinyunet.evaluation.thresholds import best_image_score, image_threshold, pixel_threshold
from tinyunet.model.metrics import Counts, count


def _logits(*probabilities: float) -> list[float]:
    p = np.array(probabilities)
    return (np.log(p) - np.log1p(-p)).tolist()


def test_pixel_threshold_is_the_middle_of_the_plateau() -> None:
    # Dice is 1 for thresholds that keep 0.8 and drop 0.2: .200 to .799 (0.2 itself is not above 0.2)
    threshold = pixel_threshold(count(_logits(0.2001, 0.8001), [False, True]), np.array([True]))
    assert threshold.value == pytest.approx(0.5005, abs=0.0006)
    assert "0.201 to 0.8" in threshold.reason


def test_pixel_threshold_ignores_clean_images() -> None:
    defect, clean = count(_logits(0.2001, 0.8001), [False, True]), count(_logits(0.95, 0.95), [False, False])
    both = pixel_threshold(Counts.stack([defect, clean]), np.array([True, False]))
    assert both.value == pixel_threshold(defect, np.array([True])).value


def test_pixel_threshold_prefers_the_widest_of_two_equal_ranges() -> None:
    # Two images want different thresholds: mean Dice is (1 + 0)/2-like on both sides, wider on the left
    narrow = count(_logits(0.9001, 0.99), [False, True])  # good above .9001
    wide = count(_logits(0.0001, 0.6), [False, True])  # good below .6
    threshold = pixel_threshold(Counts.stack([narrow, wide]), np.array([True, True]))
    # below .6: dice (2/3 + 1)/2 = .833; above .9: (1 + 0)/2 = .5
    assert threshold.value == pytest.approx(0.3, abs=0.001)


def test_pixel_threshold_is_one_half_without_a_defective_image() -> None:
    threshold = pixel_threshold(count([0.0], [False]), np.array([False]))
    assert threshold.value == 0.5
    assert "no defective" in threshold.reason


def test_a_saturated_model_gets_one_half() -> None:
    assert pixel_threshold(count([-90.0, 90.0], [False, True]), np.array([True])).value == 0.5


def test_a_label_that_has_vanished_under_a_certain_prediction_gives_one_half() -> None:
    assert (
        pixel_threshold(count([90.0], [False]), np.array([True])).value == 0.5
    )  # never 1, whose logit is infinite


def test_image_threshold_is_the_middle_of_the_gap_between_separable_scores() -> None:
    threshold = image_threshold(np.array([-3.0, -1.0, 5.0, 9.0]), np.array([False, False, True, True]), 0.5)
    assert threshold.value == 2.0
    assert "-1.00" in threshold.reason
    assert "5.00" in threshold.reason


def test_image_threshold_of_overlapping_scores_has_the_best_balanced_accuracy() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    defective = np.array([False, False, True, False, True, True])
    threshold = image_threshold(scores, defective, 0.5)
    # at 1.5: (3/3 + 2/3)/2 = .833; at 3.5: (2/3 + 3/3)/2 = .833; the gaps are equal, the first is taken
    assert threshold.value == 1.5
    assert "0.833" in threshold.reason
    wider = image_threshold(np.array([0.0, 1.0, 2.0, 3.0, 6.0, 7.0]), defective, 0.5)
    assert wider.value == 4.5  # as good, and in a gap of three


@pytest.mark.parametrize(("defective", "missing"), [(True, "clean"), (False, "defective")])
def test_image_threshold_falls_back_to_the_logit_of_the_pixel_threshold(
    defective: bool, missing: str
) -> None:
    threshold = image_threshold(np.array([1.0, 2.0]), np.array([defective] * 2), 0.75)
    assert threshold.value == pytest.approx(np.log(3))
    assert missing in threshold.reason


def test_equal_scores_everywhere_still_give_a_threshold() -> None:
    threshold = image_threshold(np.array([1.0, 1.0]), np.array([True, False]), 0.5)
    assert threshold.value in (0.0, 2.0)
    assert "0.500" in threshold.reason


# Ten clean images, the last of them above two of five defective ones.
SCORES = np.array([-9.0, -8, -7, -6, -5, -4, -3, -2, -1, 6, 4, 5, 8, 9, 12])
DEFECTIVE = np.array([False] * 10 + [True] * 5)


@pytest.mark.parametrize(
    ("goal", "value", "achieved"),
    [
        ({"target": "tnr=0.999"}, 7.0, "3 of 5 defective images are flagged, 10 of 10 clean pass"),
        ({"target": "tnr=0.9"}, 1.5, "5 of 5 defective images are flagged, 9 of 10 clean pass"),
        ({"target": "tpr=1"}, 1.5, "5 of 5 defective images are flagged, 9 of 10 clean pass"),
        ({"target": "tpr=0.6"}, 7.0, "3 of 5 defective images are flagged, 10 of 10 clean pass"),
        ({"target": "tpr=0.2"}, 10.5, "1 of 5 defective images are flagged, 10 of 10 clean pass"),
        ({"cost": "miss=10,stop=1"}, 1.5, "5 of 5 defective images are flagged, 9 of 10 clean pass"),
        ({"cost": "miss=1,stop=10"}, 7.0, "3 of 5 defective images are flagged, 10 of 10 clean pass"),
    ],
)
def test_the_image_threshold_follows_target_or_cost(
    goal: dict[str, str], value: float, achieved: str
) -> None:
    threshold = image_threshold(SCORES, DEFECTIVE, 0.5, EvalConfig(**goal))
    assert threshold.value == value
    assert achieved in threshold.reason


def test_the_reasons_say_how_many_images_they_rest_on_and_what_the_cost_is() -> None:
    by_target = image_threshold(SCORES, DEFECTIVE, 0.5, EvalConfig(target="tnr=0.999")).reason
    assert by_target.endswith("; this rests on 10 clean images, and one image changes the rate by 0.1")
    by_cost = image_threshold(SCORES, DEFECTIVE, 0.5, EvalConfig(cost="miss=1,stop=10")).reason
    assert "0.133 per image of validation, of which 33.3% are defective" in by_cost  # 2 missed of 15


def test_a_target_needs_both_kinds_of_images() -> None:
    threshold = image_threshold(np.array([1.0]), np.array([True]), 0.5, EvalConfig(target="tpr=1"))
    assert (threshold.value, "no clean image" in threshold.reason) == (0, True)


def test_the_image_score_is_the_one_that_separates_validation_best_and_the_first_of_equal_ones() -> None:
    defective = np.array([False, False, True, True])
    mixed, apart = np.array([0.0, 3.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0, 3.0])
    assert best_image_score({"max": mixed, "top100": mixed, "smoothed": apart}, defective) == "smoothed"
    assert best_image_score({"max": apart, "top100": mixed, "smoothed": 9 * apart}, defective) == "max"
    assert best_image_score({"max": mixed, "smoothed": apart}, np.ones(4, bool)) == "max"
