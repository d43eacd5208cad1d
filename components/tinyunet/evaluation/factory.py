"""The results on Test in the words of a production line: defects found, false alarms, parts stopped."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.documents.factory import DefectSize, DefectType, Factory, Share
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.evaluation.inference import SplitResult
from tinyunet.model import metrics
from tinyunet.model.regions import Regions

SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
"""Smallest areas of the ranges of sizes, in pixels."""
CONFIDENCE = 0.9  # of an interval from 5 % to 95 %


def describe(
    test: SplitResult, manifest: RecordsManifest, pixel_threshold: float, image_threshold: float
) -> Factory | None:
    """Describe the results on Test.

    Args:
        test: From `evaluate_split` with the pixel threshold.
        manifest: Manifest of the records; its types of the training images are compared with those of Test.
        pixel_threshold: Probability above which a pixel is predicted to be defective.
        image_threshold: Score above which a part is stopped.

    Returns:
        The description; None if `test` was made without a pixel threshold.
    """
    regions, defective = test.regions, test.split.defective
    if regions is None or regions.false_alarms is None:
        return None
    found, alarms = regions.found(pixel_threshold), regions.false_alarms
    stopped, good = test.scores > image_threshold, int((~defective).sum())
    on_good = int(alarms[~defective].sum())
    return Factory(
        found=share(found),
        good_parts=good,
        false_alarms=on_good,
        false_alarms_per_1000=1000 * on_good / good if good else None,
        false_alarms_defective=int(alarms[defective].sum()),
        passed=share(~stopped[defective]) if good else None,
        stopped=share(stopped[~defective]) if good else None,
        types=by_type(test, regions, found, pixel_threshold, stopped if good else None),
        sizes=by_size(regions.area, found),
        unseen_types=unseen_types(image_types(test), manifest.splits["train"].types),
    )


def share(cases: NDArray[np.bool_]) -> Share:
    """Return the share of true values with its Wilson interval.

    No case of 14: the interval ends at z² / (14 + z²) with z = 1.645

    >>> round(share(np.zeros(14, bool)).interval[1], 3)
    0.162
    """
    from scipy.stats import binomtest

    count, total = int(cases.sum()), len(cases)
    if not total:
        return Share(count=0, of=0, rate=None, interval=None)
    low, high = binomtest(count, total).proportion_ci(CONFIDENCE, "wilson")
    return Share(count=count, of=total, rate=count / total, interval=(float(low), float(high)))


def image_types(test: SplitResult) -> tuple[str, ...]:
    """Return the type of defect of each image, "" for none; empty if the data do not name types."""
    return test.split.types if any(test.split.types) else ()


def unseen_types(tested: Collection[str], trained: Collection[str]) -> tuple[str, ...]:
    """Return the types on Test that no training image shows; none if those of training are unknown.

    >>> unseen_types(["scratch", "hole", ""], ["hole"]), unseen_types(["scratch"], [])
    (('scratch',), ())
    """
    return tuple(sorted(set(tested) - set(trained) - {""})) if trained else ()


def by_type(
    test: SplitResult,
    regions: Regions,
    found: NDArray[np.bool_],
    threshold: float,
    stopped: NDArray[np.bool_] | None,
) -> tuple[DefectType, ...]:
    """Return the results of each type of defect, in the order of their names, images without a type last.

    Args:
        test: The images.
        regions: Regions of their labels.
        found: bool [R], whether a region is found.
        threshold: Pixel threshold, a probability.
        stopped: bool [N], the verdicts; None if they are not defined.
    """
    types = np.array(image_types(test))
    if not len(types):
        return ()
    pixels = test.counts.at(threshold)
    dice = metrics.dice(pixels.tp, pixels.fp, pixels.fn)
    rows = []
    for name in sorted(set(types[test.split.defective].tolist()), key=lambda name: (not name, name)):
        shown = (types == name) & test.split.defective
        of_type = shown[regions.image]
        rows.append(
            DefectType(
                type=name,
                parts=int(shown.sum()),
                passed=None if stopped is None else int((shown & ~stopped).sum()),
                defects=int(of_type.sum()),
                found=int((of_type & found).sum()),
                dice=float(dice[shown].mean()),
            )
        )
    return tuple(rows)


def by_size(area: NDArray[np.int64], found: NDArray[np.bool_]) -> tuple[DefectSize, ...]:
    """Return the results of each range of sizes that has defects: powers of ten of the area in pixels.

    >>> [(row.smallest, row.largest, row.found, row.defects)
    ...  for row in by_size(np.array([7, 40, 99, 100]), np.array([False, True, False, True]))]
    [(1, 9, 0, 1), (10, 99, 1, 2), (100, 999, 1, 1)]
    """
    rows = []
    for smallest, end in zip(SIZES, (*SIZES[1:], None), strict=True):
        inside = (area >= smallest) & (area < (end or np.inf))
        if inside.any():
            rows.append(
                DefectSize(
                    smallest=smallest,
                    largest=end and end - 1,
                    defects=int(inside.sum()),
                    found=int((inside & found).sum()),
                )
            )
    return tuple(rows)
