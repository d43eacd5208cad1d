"""Regions, false alarms, and the rankings of pixels, which are compared with scikit-learn."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import auc, average_precision_score, roc_curve

from tinyunet.model import metrics
from tinyunet.model import regions as r

SHAPES = ((40, 60), (64, 32), (50, 50))  # the images differ in size


def images(scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return logits and labels of three images with several regions, the last image without a defect."""
    rng = np.random.default_rng(3)
    pairs = []
    for shape in SHAPES:
        label = ndimage.gaussian_filter(rng.normal(size=shape), 3) > 0.12
        label &= shape != SHAPES[-1]
        noise = ndimage.gaussian_filter(rng.normal(size=shape), 1) * 6
        pairs.append((((noise + 3 * label - 4) * scale).astype(np.float32), label))
    return pairs


def counted(pairs: list[tuple[np.ndarray, np.ndarray]], threshold: float | None = None) -> r.Regions:
    counter = r.RegionCounter(threshold)
    for logits, label in pairs:
        counter.add(logits, label)
    return counter.result()


@pytest.mark.parametrize("scale", [0.3, 1, 5])
def test_pixel_ap_is_that_of_all_pixels_together(scale: float) -> None:
    pairs = images(scale)
    label, score = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (1, 0))
    assert r.pixel_ap(counted(pairs)) == pytest.approx(average_precision_score(label, score), abs=5e-4)


@pytest.mark.parametrize("scale", [0.3, 1, 5])
def test_aupro_is_the_area_below_a_roc_curve_in_which_every_region_has_the_same_weight(scale: float) -> None:
    pairs, weights = images(scale), []
    for _, label in pairs:
        numbers = ndimage.label(label, np.ones((3, 3)))[0]
        weights.append(np.where(label, 1 / np.bincount(numbers.ravel())[numbers], 1).ravel())
    label, score = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (1, 0))
    fpr, overlap, _ = roc_curve(label, score, sample_weight=np.concatenate(weights), drop_intermediate=False)
    x = np.append(fpr[fpr <= 0.3], 0.3)
    exact = auc(x, np.append(overlap[fpr <= 0.3], np.interp(0.3, fpr, overlap))) / 0.3
    assert 0.3 < exact < 0.95
    assert r.aupro(counted(pairs)) == pytest.approx(exact, abs=1e-3)


def test_a_perfect_ranking_has_one_and_a_constant_one_has_the_value_of_chance() -> None:
    label = np.zeros((20, 20), bool)
    label[2:6, 2:6] = True
    perfect, constant = counted([(np.where(label, 1e6, -1e6), label)]), counted([(np.zeros((20, 20)), label)])
    assert (r.pixel_ap(perfect), r.aupro(perfect)) == (1, 1)
    assert r.pixel_ap(constant) == pytest.approx(8.5 / 200.5)  # the middle one of 16, behind half of 384
    assert r.aupro(constant) == pytest.approx(0.15)  # half of 0.3


def test_rankings_are_undefined_without_defects_and_without_clean_pixels() -> None:
    clean = counted([(np.zeros((4, 4)), np.zeros((4, 4), bool))])
    assert (r.pixel_ap(clean), r.aupro(clean), len(clean.area)) == (None, None, 0)
    assert r.aupro(counted([(np.zeros((4, 4)), np.ones((4, 4), bool))])) is None
    assert r.aupro(counted([])) is None


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    regions = counted(
        [
            (np.zeros((4, 4)), np.eye(4, dtype=bool)),
            (np.zeros((4, 4)), np.eye(4, dtype=bool)[:, :2].repeat(2, 1) > 1),
        ]
    )
    assert (regions.area.tolist(), regions.image.tolist()) == ([4], [0])


@pytest.mark.parametrize("threshold", [0.02, 0.5, 0.9])
def test_a_region_is_found_exactly_where_the_counts_have_a_predicted_pixel_in_it(threshold: float) -> None:
    pairs = images(1)
    regions, expected = counted(pairs), []
    for logits, label in pairs:
        numbers, count = ndimage.label(label, np.ones((3, 3)))
        expected += [metrics.count(logits, numbers == i).at(threshold).tp[0] > 0 for i in range(1, count + 1)]
    assert regions.found(threshold).tolist() == expected
    assert 0 < sum(expected) < len(expected) or threshold == 0.02


def test_false_alarms_are_counted_by_image_and_touch_no_label() -> None:
    label = np.zeros((6, 6), bool)
    label[0, 0] = True
    hit, near = np.full((6, 6), -9.0), np.full((6, 6), -9.0)
    hit[0, 0:3] = 9  # shares a pixel with the label
    near[0, 1] = near[5, 5] = near[4, 4] = 9  # beside the label, and one region across a corner
    assert counted([(hit, label), (near, label), (-near, label)], 0.5).false_alarms.tolist() == [0, 2, 0]
    assert counted([(hit, label)]).false_alarms is None


def test_a_pixel_is_predicted_exactly_where_its_probability_exceeds_the_threshold() -> None:
    logits = np.linspace(-8, 8, 20_001, dtype=np.float32)
    for threshold in (0.001, 0.25, 0.5, 0.731, 0.999):
        np.testing.assert_array_equal(r.exceeds(logits, threshold), metrics.sigmoid(logits) > threshold)
    assert not r.exceeds(np.zeros(1, np.float32), 0.5)[0]


@pytest.mark.parametrize("borders", [(20,), (1, 2, 3), (7, 8, 30, 39)])
@pytest.mark.parametrize("threshold", [0.02, 0.5])
def test_an_image_in_bands_has_the_regions_of_the_whole_image(
    borders: tuple[int, ...], threshold: float
) -> None:
    banded = r.RegionCounter(threshold)
    for logits, label in images(1):
        for rows in zip(np.split(logits, borders), np.split(label, borders), strict=True):
            banded.add_band(*rows)
        banded.end_image()
    result, expected = banded.result(), counted(images(1), threshold)
    order = [np.lexsort((one.area, one.peak, one.image)) for one in (result, expected)]
    for name in ("image", "area", "peak"):
        np.testing.assert_array_equal(getattr(result, name)[order[0]], getattr(expected, name)[order[1]])
    np.testing.assert_allclose(result.overlap, expected.overlap, rtol=1e-12)
    np.testing.assert_array_equal(result.defective, expected.defective)
    np.testing.assert_array_equal(result.clean, expected.clean)
    assert result.false_alarms is not None
    assert expected.false_alarms is not None
    assert result.false_alarms.tolist() == expected.false_alarms.tolist()
