"""Describe the validation images of a model, with which a server compares the images that it gets."""

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.reference import MOST_IMAGES, ImageReference
from tinyunet.engine import statistics
from tinyunet.evaluation.inference import SplitResult

_DIGITS = 5


def describe_images(model: ModelDocument, validation: SplitResult, image_threshold: float) -> ImageReference:
    """Measure validation images, MOST_IMAGES of them at most, which are evenly distributed over the split.

    Args:
        model: The evaluated model.
        validation: Its scores on the validation split.
        image_threshold: Score above which the model calls an image defective.
    """
    count = len(validation.split)
    chosen = evenly_distributed(count, MOST_IMAGES)
    values = np.array([statistics.measure(np.asarray(validation.split.images[i])) for i in chosen])
    scores = validation.scores[chosen]
    names = statistics.names(model.channels)
    return ImageReference(
        weights_digest=model.weights_digest,
        image_size=model.image_size,
        channels=model.channels,
        images=count,
        defective=tuple(bool(score > image_threshold) for score in scores),
        scores=tuple(_rounded(score) for score in scores),
        statistics={name: tuple(map(_rounded, column)) for name, column in zip(names, values.T, strict=True)},
    )


def evenly_distributed(count: int, most: int) -> NDArray[np.intp]:
    """Return `most` indices of `count` images, or all of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _rounded(value: float) -> float:
    """Return a value with so many digits that the file is small and ranks hardly change."""
    return float(f"{value:.{_DIGITS}g}")
