import numpy as np
import pytest

from tinyunet.model import metrics as m

# Three images of 2×4 pixels. Probabilities are multiples of 0.1, away from every NVIDIA threshold.
LABEL = np.array(
    [
        [[1, 1, 1, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 1, 1]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ],
    bool,
)
PROBABILITY = np.array(
    [
        [[0.9, 0.6, 0.2, 0.8], [0.1, 0.1, 0.1, 0.1]],
        [[0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9]],
        [[0.1, 0.6, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]],
    ]
)
LOGITS = np.log(PROBABILITY / (1 - PROBABILITY))
DEFECTIVE = np.array([True, True, False])


@pytest.fixture
def counts() -> m.Counts:
    return m.Counts.stack(m.count(z, t) for z, t in zip(LOGITS, LABEL, strict=True))


def test_the_counts_at_one_half_equal_those_counted_by_hand(counts: m.Counts) -> None:
    half = counts.at(0.5)
    assert half.tp.tolist() == [2, 2, 0]
    assert half.fp.tolist() == [1, 0, 1]
    assert half.fn.tolist() == [1, 0, 0]
    assert half.tn.tolist() == [4, 6, 7]
    assert half.total() == {"tp": 4, "fp": 2, "fn": 1, "tn": 17}


@pytest.mark.parametrize("threshold", [0.05, 0.125, 0.25, 0.5, 0.75, 0.85, 0.95, 0.99, 0.333, 0.001])
def test_the_counts_equal_a_direct_comparison_with_the_threshold(threshold: float) -> None:
    rng = np.random.default_rng(7)
    logits, label = rng.normal(0, 4, (40, 40)), rng.random((40, 40)) < 0.2
    above = m.sigmoid(logits) > threshold
    pixels = m.count(logits, label).at(threshold)
    expected = [
        (above & label).sum(),
        (above & ~label).sum(),
        (~above & label).sum(),
        (~above & ~label).sum(),
    ]
    assert [int(v[0]) for v in (pixels.tp, pixels.fp, pixels.fn, pixels.tn)] == expected


def test_a_probability_equal_to_the_threshold_is_not_above_it() -> None:
    pixels = m.count([0.0, 0.0, 1.0], [True, False, True]).at(0.5)  # sigmoid(0) is 0.5
    assert (pixels.tp.tolist(), pixels.fp.tolist(), pixels.fn.tolist()) == ([1], [0], [1])


def test_the_sigmoid_is_exact_at_zero_and_does_not_overflow() -> None:
    assert m.sigmoid([-1e4, 0.0, 1e4]).tolist() == [0.0, 0.5, 1.0]
    assert m.sigmoid(np.log(3.0)) == pytest.approx(0.75, abs=1e-15)


def test_dice_and_iou_equal_those_computed_by_hand_and_are_one_for_two_empty_masks() -> None:
    assert m.dice(2, 1, 1) == pytest.approx(4 / 6)
    assert m.iou(2, 1, 1) == pytest.approx(2 / 4)
    assert m.dice(0, 0, 0) == 1
    assert m.iou(0, 0, 0) == 1
    assert m.dice(0, 3, 0) == 0
    assert m.iou(0, 0, 3) == 0


def test_the_pixel_scores_equal_those_computed_by_hand(counts: m.Counts) -> None:
    scores = m.pixel_scores(counts, DEFECTIVE, 0.5)
    assert scores.dice_defective == pytest.approx((2 / 3 + 1) / 2)
    assert scores.iou_defective == pytest.approx((1 / 2 + 1) / 2)
    assert scores.pooled_iou == pytest.approx(4 / 7)
    assert scores.pixel.model_dump() == {"tp": 4, "fp": 2, "fn": 1, "tn": 17}


@pytest.mark.parametrize(
    ("threshold", "per_image"),
    [
        (0.05, (6 / 11, 4 / 10, 0)),  # everything is predicted: 2·3/(3+8), 2·2/(2+8), 0/8
        (0.125, (6 / 7, 1, 0)),  # four pixels above in the first image, one in the third
        (0.5, (4 / 6, 1, 0)),
        (0.75, (2 / 5, 1, 1)),  # nothing is predicted in the clean image, which scores one
        (0.85, (2 / 4, 1, 1)),
        (0.95, (0, 0, 1)),  # nothing is predicted: the floor
    ],
)
def test_nvidia_iou_is_the_mean_dice_over_all_images(
    counts: m.Counts, threshold: float, per_image: tuple[float, float, float]
) -> None:
    assert m.nvidia_iou(counts, threshold) == pytest.approx(sum(per_image) / 3, abs=1e-5)


def test_nvidia_iou_has_epsilon_in_numerator_and_denominator() -> None:
    counts = m.count([-5.0, -5.0], [False, True])
    assert m.nvidia_iou(counts, 0.5) == pytest.approx(1e-5 / (1 + 1e-5), rel=1e-12)


def test_the_floor_is_the_score_of_no_prediction(counts: m.Counts) -> None:
    assert m.nvidia_iou_floor(counts) == pytest.approx(1 / 3, abs=1e-5)
    assert m.nvidia_iou_floor(counts) == m.nvidia_iou(counts, 0.99)


def test_the_curves_are_the_means_over_the_images_at_every_threshold(counts: m.Counts) -> None:
    of_defective = counts.select(DEFECTIVE)
    dice, iou = m.dice_curve(of_defective), m.iou_curve(of_defective)
    assert dice.shape == iou.shape == (1001,)
    assert dice[500] == pytest.approx((2 / 3 + 1) / 2)
    assert iou[500] == pytest.approx(3 / 4)
    assert dice[850] == pytest.approx((1 / 2 + 1) / 2)
    assert dice[1000] == 0


def test_the_image_score_is_the_largest_logit_or_a_mean_of_large_logits() -> None:
    logits = np.arange(2 * 16 * 16, dtype=np.float32).reshape(2, 16, 16, 1)
    assert m.image_score(logits, "max").tolist() == [255, 511]
    assert m.image_score(logits, "top100").tolist() == [205.5, 461.5]  # mean of 156 … 255
    assert m.image_score(logits[:, :4, :4], "top100")[0] == logits[0, :4, :4].mean()
    assert m.image_score(logits, "smoothed").tolist() == [logits[i, -5:, -5:].mean() for i in (0, 1)]


def test_the_image_scores_equal_those_computed_by_hand() -> None:
    scores = np.array([5.0, 1.0, 3.0, 0.0, -1.0])
    defective = np.array([True, True, False, False, False])
    result = m.image_scores(scores, defective, 2.0)
    # ranking: defective, clean, defective, clean, clean
    assert result.image_ap == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert result.image_auroc == pytest.approx(5 / 6)  # five of six pairs in order
    assert result.tpr == pytest.approx(1 / 2)
    assert result.tnr == pytest.approx(2 / 3)
    assert result.image.model_dump() == {"tp": 1, "fp": 1, "fn": 1, "tn": 2}
    at_a_score = m.image_scores(scores, defective, 3.0).image.model_dump()
    assert at_a_score == {"tp": 1, "fp": 0, "fn": 1, "tn": 3}, (
        "a score equal to the threshold is not above it"
    )


def test_undefined_scores_are_none() -> None:
    clean = m.image_scores(np.array([1.0, 2.0]), np.array([False, False]), 0.0)
    assert (clean.image_ap, clean.image_auroc, clean.tpr, clean.tnr) == (None, None, None, 0.0)
    pixels = m.pixel_scores(m.count([-1.0], [False]), np.array([False]), 0.5)
    assert pixels.dice_defective is None
    assert pixels.bootstrap.dice_defective is None


def test_logits_rank_images_whose_probabilities_are_equal() -> None:
    logits = np.array([40.0, 50.0, 60.0], np.float32)
    assert len(set(m.sigmoid(logits).tolist())) == 1
    assert m.image_scores(logits.astype(float), np.array([False, False, True]), 55.0).image_ap == 1.0


def test_bootstrap_of_equal_values_is_a_point_and_of_a_coin_spans_its_binomial_range() -> None:
    assert m.bootstrap([0.7, 0.7, 0.7]) == pytest.approx((0.7, 0.7))
    # four fair coins: all are 0 (or 1) in .0625 of the draws, more than .05: the quantiles are 0 and 1
    assert m.bootstrap([0.0, 0.0, 1.0, 1.0]) == (0.0, 1.0)
    # a hundred coins: .5 ± 1.645·.05 = .418 … .582
    assert m.bootstrap([0.0] * 50 + [1.0] * 50) == pytest.approx((0.418, 0.582), abs=0.012)


def test_the_bootstrap_is_a_function_of_its_seed() -> None:
    values = np.random.default_rng(1).random(9)
    assert m.bootstrap(values) == m.bootstrap(values)
    assert m.bootstrap(values) != m.bootstrap(values, seed=1)


def test_counts_of_many_large_images_do_not_overflow() -> None:
    pixels = np.full(40_000, 512 * 512, np.int64)
    counts = m.Counts(np.tile(pixels[:, None], 1001), np.zeros((40_000, 1001), np.int64), pixels, pixels)
    assert counts.at(0.5).total()["tp"] == 40_000 * 512 * 512  # 1.05e10 > 2^32
