"""Notice that the images of a server are no longer like the validation images of its model.

The last images are compared with the reference of the model, one statistic after the other, by the rank-sum
test of Wilcoxon (1945), Mann and Whitney (1947). It assumes no distribution, and its variance accounts for
the small number of validation images. Many tests of one dimension at a strict level find shifts of images as
well as tests of many dimensions do: Rabanser, Günnemann and Lipton, "Failing loudly", NeurIPS 2019. They use
the test of Kolmogorov and Smirnov; the rank-sum test needs fewer validation images for a shift of the
centre. The level of a cause is divided by the number of its tests (Bonferroni).

Images that the model finds clean are compared with validation images that it finds clean, and defective ones
with defective ones, because a line has far fewer defects than a validation set. The two comparisons are
added as by van Elteren (1960). A change of the rate of defects alone is therefore no drift; the verdicts are
counted elsewhere.

Assumption: without drift, the last images could have been validation images. Validation images of one lot do
not show what the next lot looks like; that is reported as drift, rightly. Successive images may resemble
each other a little: the page of the server states how often this alone is reported. A change of the spread
alone is not noticed.

Libraries: evidently and alibi-detect test like this, too. The first requires 26 packages, among them plotly,
nltk and a second web framework. The second is under the Business Source License, which restricts use in
production, and needs older versions of numpy and TensorFlow. The test is ten lines here.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.errors import UserError

WINDOW = 50
LEVEL = 1e-4
"""Probability per cause and image of a false alarm, if the images are independent."""
LEAST = 10
"""Validation images of each verdict; with fewer of one, the verdicts are not told apart."""
SCORE = "score"

Values = NDArray[np.float64]


class Drift:
    """Compares the last images with a reference; not thread-safe."""

    def __init__(self, reference: ImageReference, *, window: int = WINDOW, level: float = LEVEL) -> None:
        """Begin with an empty window.

        Args:
            reference: Statistics of the validation images.
            window: Number of the last images that are compared.
            level: See LEVEL.

        Raises:
            UserError: if the reference holds no image.
        """
        values = np.array([*reference.statistics.values(), reference.scores], np.float64)
        if not values.shape[1]:
            raise UserError(f"{reference.FILE} holds no image; {reference.REMEDY}")
        self._groups = _by_verdict(values, reference.defective)
        self._window = deque[tuple[Values, int]](maxlen=window)
        causes = [name.partition(".")[0] for name in (*reference.statistics, SCORE)]
        self._causes = {cause: np.array([c == cause for c in causes]) for cause in dict.fromkeys(causes)}
        self._critical = {
            cause: NormalDist().inv_cdf(1 - level / 2 / int(tests.sum()))
            for cause, tests in self._causes.items()
        }

    @property
    def images(self) -> int:
        """Number of images in the window."""
        return len(self._window)

    def add(self, statistics: Values, score: float, *, defective: bool) -> list[str]:
        """Add an image to the window; the oldest one leaves it.

        Args:
            statistics: float64 [S], in the order of the reference's statistics.
            score: Image-level score, a logit.
            defective: The verdict.

        Returns:
            The causes in which the image lies outside the whole range of its group of validation images.
        """
        group = int(defective) % len(self._groups)
        ranks = placements(self._groups[group], np.append(statistics, score))
        self._window.append((ranks, group))
        beyond = (ranks == 0) | (ranks == 1)
        return [cause for cause, tests in self._causes.items() if beyond[tests].any()]

    def scores(self) -> dict[str, float]:
        """Return for every cause its largest test statistic by its critical one; from 1 on it is drift.

        The causes are those of `engine.statistics`, and `score`. An empty window has the score 0.
        """
        groups = [[ranks for ranks, g in self._window if g == group] for group in range(len(self._groups))]
        sizes = [group.shape[1] for group in self._groups]
        z = np.abs(rank_sum(groups, sizes)) if self._window else np.zeros(len(self._groups[0]))
        return {cause: float(z[tests].max()) / self._critical[cause] for cause, tests in self._causes.items()}


def drifting(scores: Mapping[str, float]) -> list[str]:
    """Return the causes whose score is that of drift."""
    return [cause for cause, score in scores.items() if score >= 1]


def placements(reference: Values, values: Values) -> Values:
    """Return the fraction of the reference below each value; equal ones count half.

    Args:
        reference: float64 [S, n].
        values: float64 [S].

    >>> placements(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([3.0])).tolist()
    [0.625]
    """
    fractions: Values = (
        (reference < values[:, None]).mean(axis=1) + (reference <= values[:, None]).mean(axis=1)
    ) / 2
    return fractions


def rank_sum(groups: Sequence[Sequence[Values]], sizes: Sequence[int]) -> Values:
    """Return van Elteren's statistic, which is about normal with variance 1 without a shift.

    Args:
        groups: For every group, the placements of its images, float64 [S] each.
        sizes: Number of images of the reference of every group.

    Returns:
        float64 [S]; above 0 if the images have larger values than the reference.

    One group: all 4 values lie above all 4 of the reference. U is 16, its mean 8, its variance 4 · 4 · 9 /
    12:

    >>> rank_sum([[np.ones(1)] * 4], [4]).round(2).tolist()
    [2.31]
    """
    total, variance = np.zeros(()), 0.0
    for ranks, n in zip(groups, sizes, strict=True):
        if m := len(ranks):
            weight = 1 / (n + m + 1)
            total = total + weight * n * (np.sum(ranks, axis=0) - m / 2)
            variance += weight * n * m / 12
    statistic: Values = total / np.sqrt(variance)
    return statistic


def _by_verdict(values: Values, defective: Sequence[bool]) -> list[Values]:
    """Return the values of the clean and of the defective images, or of all if there are too few of one."""
    flags = np.array(defective, bool)
    if min(flags.sum(), (~flags).sum()) < LEAST:
        return [values]
    return [values[:, ~flags], values[:, flags]]
