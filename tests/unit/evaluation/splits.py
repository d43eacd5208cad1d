"""Small splits with known logits."""

from collections.abc import Iterator

import numpy as np

from tinyunet.core.config import EvalConfig
from tinyunet.data.dataset import Split
from tinyunet.evaluation.inference import Predictor, SplitResult, evaluate_split


class FixedLogits(Predictor):
    """A predictor whose logits are given."""

    def __init__(self, logits: np.ndarray) -> None:
        self._logits = logits

    def each(self, images: np.ndarray) -> Iterator[list[np.ndarray]]:
        yield from ([logits] for logits in self._logits)


def four_images(scores: list[float], *, missed: bool = False) -> SplitResult:
    """Return the result of four images of 2×2 pixels, the last two of them defective in one pixel.

    Args:
        scores: Logit of the first pixel of each image; the other pixels have -5.
        missed: Whether the defective pixel is another one than the first.
    """
    logits = np.full((4, 2, 2), -5.0, np.float32)
    logits[:, 0, 0] = scores
    masks = np.zeros((4, 2, 2), np.uint8)
    masks[2:, 1 if missed else 0, 0] = 255
    split = Split("test", masks, masks, np.array([False, False, True, True]), ("a", "b", "c", "d"))
    return evaluate_split(FixedLogits(logits), split, EvalConfig())


def two_images(*, defective: bool) -> SplitResult:
    """Return the result of two images that are both defective or both clean."""
    result = four_images([-3, -1, 2, 4])
    selected = result.split.defective == defective
    masks = result.split.masks[selected]
    split = Split("test", masks, masks, result.split.defective[selected], ("a", "b"))
    return SplitResult(split, result.counts.select(selected), result.scores[selected])
