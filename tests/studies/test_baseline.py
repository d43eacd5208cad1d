"""The baseline is trained on the records and writes the document of an evaluation."""

from pathlib import Path

import numpy as np

from tests.studies import baseline
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.data.dataset import load_split


def test_two_steps_give_scores_of_whole_images_at_their_own_size(
    records: Path, evaluation: Path, tmp_path: Path
) -> None:
    baseline.run_baseline(records, tmp_path, seconds=600, steps=2, side=32, filters=4)
    result, ours = Evaluation.read(tmp_path), Evaluation.read(evaluation)
    counted = result.test.pixel
    assert counted.tp + counted.fp + counted.fn + counted.tn == 16 * 64 * 64
    assert [image.name for image in result.images] == [image.name for image in ours.images]
    assert (result.model.steps, result.threshold_source, result.data) == (2, "validation", ours.data)
    assert result.factory is not None
    assert ours.factory is not None
    assert result.factory.found.of == ours.factory.found.of


def test_a_batch_is_flipped_together_with_its_labels() -> None:
    pixels = np.arange(16 * 16, dtype=np.uint8).reshape(1, 16, 16, 1)
    for seed in range(3):
        image, label = next(iter(baseline.make_batches(pixels, pixels, 1.0, seed)))
        np.testing.assert_array_equal(image, label)


def test_an_image_is_resized_to_a_square_and_its_label_is_binary(records: Path) -> None:
    split = load_split(records, "train", 0)
    images, labels = baseline.load_training_images(split, 32)
    assert images.shape == (21, 32, 32, 1)
    assert images.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1}
    np.testing.assert_array_equal(labels.any(axis=(1, 2, 3)), split.defective)
