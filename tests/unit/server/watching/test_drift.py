"""Drift against a small reference: what is reported, how soon, and how seldom without a reason.

The images are generated textures with a light, a focus and a noise that vary from image to image, as on a
real line. Images of 96 pixels vary more than those of 512 do, so that shifts are harder to see here.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.errors import UserError
from tinyunet.data.synthetic.textures import KINDS
from tinyunet.engine.statistics import measure, names
from tinyunet.server.watching.drift import Drift, drifting, placements, rank_sum

Floats = NDArray[np.float64]
NAMES = names(1)
SIZE, COUNT = 96, 150


def image(number: int, rng: np.random.Generator, change: Callable[[Floats], Floats]) -> NDArray[np.uint8]:
    """Return an image of a class whose light varies by 3 %, and which is changed before it is digitised."""
    levels = KINDS[number].texture(rng, SIZE) * rng.normal(1, 0.03)
    return np.clip(np.rint(change(levels)), 0, 255).astype(np.uint8)


@cache
def population(number: int, kind: str = "none") -> Floats:
    """Return the statistics and the score of COUNT images, float64 [COUNT, S + 1]."""
    change = {
        "none": lambda levels: levels,
        "brighter": lambda levels: levels * 1.1,
        "darker": lambda levels: levels * 0.9,
        "blurred": lambda levels: gaussian_filter(levels, 1.5),
    }[kind]
    rng = np.random.default_rng([number, len(kind)])
    values = np.array([measure(image(number, rng, change)) for _ in range(COUNT)])
    return np.column_stack([values, rng.normal(-5, 1.5, COUNT)])


def reference_of(values: Floats, defective: NDArray[np.bool_] | None = None) -> ImageReference:
    flags = np.zeros(len(values), bool) if defective is None else defective
    return ImageReference(
        image_size=0,
        channels=1,
        images=len(values),
        defective=tuple(map(bool, flags)),
        scores=tuple(map(float, values[:, -1])),
        statistics={name: tuple(map(float, column)) for name, column in zip(NAMES, values.T, strict=False)},
    )


def images_until_drift(drift: Drift, values: Floats, *, defective: bool = False) -> tuple[int, list[str]]:
    """Return after how many images drift is reported, and its causes; 0 if it is not."""
    for count, row in enumerate(values, start=1):
        drift.add(row[:-1], row[-1], defective=defective)
        if found := drifting(drift.scores()):
            return count, found
    return 0, []


def causes_of(drift: Drift, values: Floats) -> set[str]:
    """Return the causes of drift that are reported while the images are added."""
    found = set[str]()
    for row in values:
        drift.add(row[:-1], row[-1], defective=False)
        found |= set(drifting(drift.scores()))
    return found


def filled(reference: Floats, before: Floats) -> Drift:
    """Return the drift of a line that has delivered 50 images like the reference."""
    drift = Drift(reference_of(reference))
    assert images_until_drift(drift, before[:50]) == (0, [])
    return drift


@pytest.mark.parametrize("validation", [20, 60])
@pytest.mark.parametrize("number", [1, 5, 9])
@pytest.mark.parametrize(
    ("kind", "cause"), [("brighter", "brightness"), ("darker", "brightness"), ("blurred", "sharpness")]
)
def test_other_light_and_blur_are_reported_within_50_images(
    number: int, kind: str, cause: str, validation: int
) -> None:
    drift = filled(population(number)[:validation], population(number)[-50:])
    assert cause in causes_of(drift, population(number, kind)[:50])


@pytest.mark.parametrize("validation", [20, 60])
@pytest.mark.parametrize("number", [1, 5, 9])
@pytest.mark.parametrize("other", sorted(KINDS))
def test_the_texture_of_any_other_class_is_reported_within_50_images(
    number: int, other: int, validation: int
) -> None:
    if other == number:
        return
    drift = filled(population(number)[:validation], population(number)[-50:])
    count, _ = images_until_drift(drift, population(other)[:50])
    assert 0 < count <= 50


def test_another_texture_of_the_same_light_and_sharpness_is_reported_as_texture() -> None:
    ours, theirs = population(5), population(9).copy()
    for column in (*range(3), -1):  # brightness, contrast, sharpness and score as ours
        theirs[:, column] = ours[:, column]
    count, found = images_until_drift(filled(ours[:30], ours[-50:]), theirs[:50])
    assert 0 < count <= 50
    assert found == ["texture"]


def test_other_scores_alone_are_reported_as_score() -> None:
    values = population(5).copy()
    drift = filled(values[:30], values[-50:])
    values[:, -1] += 3
    count, found = images_until_drift(drift, values[40:90])
    assert 0 < count <= 50
    assert found == ["score"]


def false_alarms(validation: int, seed: int, correlation: float) -> float:
    """Return the fraction of 10,000 windows with drift although images and reference differ by chance only.

    The values of the statistics are drawn anew from the moments and the correlations of a population, with
    heavier tails than a normal distribution has.
    """
    population_ = population(5)
    rng = np.random.default_rng([validation, seed])
    factor = np.linalg.cholesky(np.cov(population_.T) + 1e-12 * np.eye(population_.shape[1]))
    total = validation + 10_000
    noise = rng.standard_t(5, (total, population_.shape[1]))
    for t in range(validation + 1, total):
        noise[t] = correlation * noise[t - 1] + np.sqrt(1 - correlation**2) * noise[t]
    values = population_.mean(axis=0) + noise @ factor.T
    drift = Drift(reference_of(values[:validation]))
    alarms = 0
    for row in values[validation:]:
        drift.add(row[:-1], row[-1], defective=False)
        alarms += bool(drifting(drift.scores()))
    return alarms / 10_000


@pytest.mark.parametrize(("validation", "correlation"), [(20, 0.0), (40, 0.0), (100, 0.0), (40, 0.3)])
def test_fewer_than_1_per_cent_of_10000_images_without_a_shift_are_false_alarms(
    validation: int, correlation: float
) -> None:
    """Also if successive images resemble each other a little."""
    assert false_alarms(validation, 0, correlation) < 0.01


def test_a_line_with_far_fewer_defects_than_the_validation_images_does_not_drift() -> None:
    rng = np.random.default_rng(3)
    clean, defects = rng.normal(-5, 1, 400), rng.normal(6, 1, 20)
    values = np.resize(population(5), (420, len(NAMES) + 1))
    values[:, :-1] += 1e-3 * rng.normal(size=(420, len(NAMES)))
    values[:, -1] = np.concatenate([clean, defects])
    values[400:, 0] += 0.1  # defects are light
    validation = [*range(20), *range(400, 420)]
    drift = Drift(reference_of(values[validation], values[validation, -1] > 0))
    assert images_until_drift(drift, values[20:400]) == (0, [])


def test_defective_images_are_compared_with_defective_ones_from_ten_of_them_on() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, len(NAMES) + 1))
    values[20:, 0] += 10
    new = rng.normal(size=(50, len(NAMES) + 1))
    new[:, 0] += 10
    told_apart = Drift(reference_of(values, np.arange(40) >= 20))
    assert images_until_drift(told_apart, new, defective=True) == (0, [])
    few = Drift(reference_of(values, np.arange(40) >= 31))
    assert images_until_drift(few, new, defective=True)[1] == ["brightness"]


def test_the_window_forgets_so_that_drift_ends() -> None:
    values = population(5)
    drift = filled(values[:30], values[-50:])
    assert images_until_drift(drift, population(5, "brighter")[:50])[1]
    for row in values[40:90]:
        drift.add(row[:-1], row[-1], defective=False)
    assert drift.images == 50
    assert drifting(drift.scores()) == []


def test_an_image_beyond_all_validation_images_is_named_with_its_causes() -> None:
    values = population(5)
    drift = Drift(reference_of(values[:50]))
    assert drift.add(values[7, :-1], values[7, -1], defective=False) == []
    far = values[7].copy()
    far[0] = 2.0
    assert drift.add(far[:-1], far[-1], defective=False) == ["brightness"]


def test_the_statistic_is_that_of_scipy_without_its_correction() -> None:
    from scipy.stats import mannwhitneyu, norm

    rng = np.random.default_rng(1)
    ours, theirs = np.sort(rng.normal(size=(1, 25))), rng.normal(0.8, size=40)
    z = rank_sum([[placements(ours, np.array([value])) for value in theirs]], [25])
    expected = mannwhitneyu(theirs, ours[0], method="asymptotic", use_continuity=False)
    assert 2 * norm.sf(abs(z[0])) == pytest.approx(expected.pvalue, rel=1e-9)


def test_two_groups_are_added_as_by_van_elteren() -> None:
    """In both groups, 4 images lie above a reference of 4: sum (16 - 8) / 9, variance 12 / 81 each."""
    z = rank_sum([[np.ones(1)] * 4, [np.ones(1)] * 4], [4, 4])
    assert z[0] == pytest.approx(2 * 8 / 9 / np.sqrt(2 * 12 / 81))


def test_an_empty_window_has_no_drift_and_an_empty_reference_is_an_error() -> None:
    assert set(Drift(reference_of(population(5)[:20])).scores().values()) == {0.0}
    with pytest.raises(UserError, match="holds no image; evaluate the model again"):
        Drift(reference_of(population(5)[:0]))
