"""The reference of validation images that `evaluate` writes."""

from pathlib import Path

import numpy as np
import pytest

from tests.unit.examples import evaluated_model
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.reference import MOST_IMAGES, ImageReference
from tinyunet.data.dataset import Split, load_split
from tinyunet.engine.statistics import measure, names
from tinyunet.evaluation.inference import SplitResult
from tinyunet.evaluation.reference import describe_images
from tinyunet.model.metrics import Counts


def split_result(images: np.ndarray, scores: np.ndarray) -> SplitResult:
    masks, flags = np.zeros(images.shape[:3], np.uint8), np.zeros(len(images), bool)
    split = Split("validation", images, masks, flags, tuple(map(str, range(len(images)))))
    zeros = np.zeros((len(images), 2), np.int64)
    return SplitResult(split, Counts(zeros, zeros, zeros[:, 0], zeros[:, 0]), scores)


def test_the_evaluation_folder_holds_the_validation_images_as_the_network_sees_them(
    evaluation: Path, records: Path
) -> None:
    reference, result = ImageReference.read(evaluation), Evaluation.read(evaluation)
    split = load_split(records, "validation", 64)
    assert (reference.images, reference.image_size, reference.channels) == (len(split), 64, 1)
    assert reference.weights_digest == result.model.weights_digest != ""
    columns = np.array([measure(np.asarray(image)) for image in split.images]).T
    assert tuple(reference.statistics) == names(1)
    assert np.array(list(reference.statistics.values())) == pytest.approx(columns, rel=1e-4, abs=1e-9)
    expected = [score > result.validation.image_threshold for score in reference.scores]
    assert list(reference.defective) == expected


def test_a_large_split_is_represented_by_images_from_all_of_it_in_a_few_kilobytes() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (1000, 16, 16), np.uint8)
    scores = np.arange(1000.0)
    reference = describe_images(evaluated_model(image_size=16), split_result(images, scores), 499.5)
    assert (reference.images, len(reference.scores)) == (1000, MOST_IMAGES)
    assert (reference.scores[0], reference.scores[-1]) == (0, 999)
    assert sum(reference.defective) == MOST_IMAGES / 2
    assert len(reference.text()) < 20_000
