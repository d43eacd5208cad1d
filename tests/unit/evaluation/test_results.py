"""The content of metrics.json."""

import dataclasses

import numpy as np

from tests.unit.evaluation.splits import four_images, two_images
from tests.unit.examples import evaluated_model, records_manifest
from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.evaluation.inference import SplitResult
from tinyunet.evaluation.results import summarize

RESULT = four_images([-3, -1, 2, 4])


def summary(
    *,
    manifest: RecordsManifest | None = None,
    validation: SplitResult = RESULT,
    test: SplitResult = RESULT,
    config: EvalConfig | None = None,
) -> Evaluation:
    manifest, config = manifest or records_manifest(), config or EvalConfig()
    return summarize(evaluated_model(), manifest, config, validation=validation, test=test)


def test_thresholds_depend_on_validation_alone() -> None:
    results = [summary(test=test) for test in (RESULT, four_images([8, 9, -8, -9], missed=True))]
    assert results[0].threshold == results[1].threshold
    assert [result.test.image_threshold for result in results] == [0.5, 0.5]  # the middle of -1 and 2
    assert [result.test.dice_defective for result in results] == [1, 0]
    assert [result.test.image_auroc for result in results] == [1, 0]


def test_the_target_decides_the_image_threshold_and_is_recorded() -> None:
    overlapping = four_images([-3, 3, 2, 4])
    result = summary(validation=overlapping, config=EvalConfig(target="tnr=1"))
    assert (result.target, result.cost, result.test.image_threshold) == ("tnr=1", "", 3.5)
    assert "1 of 2 defective images are flagged, 2 of 2 clean pass" in result.image_threshold_reason


def test_rankings_of_pixels_are_computed_for_both_splits() -> None:
    result = summary(test=four_images([-3, -1, 2, 4], missed=True))
    assert (result.validation.pixel_ap, result.validation.aupro) == (1, 1)
    assert result.test.pixel_ap is not None
    assert result.test.pixel_ap < 0.3


def test_without_clean_images_there_are_no_scores_of_images_and_a_note_says_so() -> None:
    result = summary(test=two_images(defective=True))
    test = result.test
    assert (test.image_ap, test.image_auroc, test.tpr, test.tnr) == (None, None, None, None)
    assert "Test has no clean image" in result.notes[0]


def test_what_was_done_to_the_pixels_comes_from_the_description_of_the_images() -> None:
    kinds = ("16-bit grey", "16-bit RGB", "alpha is dropped")
    source = RawManifest(
        source="parts", digest="", complete=False, synthetic=False, bits=16,
        levels=(90, 4000), image_shape=(8, 8), pixels=kinds, masks="two values", splits={}, files=(),
    )  # fmt: skip
    data = summarize(
        evaluated_model(), records_manifest(), EvalConfig(), validation=RESULT, test=RESULT, source=source
    ).data
    stored = "levels 90 to 4000, stored in 16 bits"
    assert (data.pixels, data.masks) == (
        (*kinds, stored, "stored in one channel, the luminance"),
        "two values",
    )
    assert summary().data.pixels == ()


def test_a_model_of_other_records_is_noted() -> None:
    result = summary(manifest=records_manifest(digest="0" * 64))
    assert "other records" in result.notes[0]
    assert result.comparable


def test_a_model_of_another_dataset_is_not_comparable() -> None:
    result = summary(manifest=records_manifest(source_digest="0" * 64))
    assert "the model was trained on another dataset" in result.comparability
    assert result.nvidia_published is None


def test_nvidias_scores_are_included_where_they_are_comparable() -> None:
    result = summary()
    assert result.nvidia_published is not None
    assert result.nvidia_published.class_id == 1


def test_a_label_that_vanishes_at_a_small_size_is_noted() -> None:
    counts = dataclasses.replace(RESULT.counts, positives=np.array([0, 0, 0, 1]))
    result = summary(test=SplitResult(RESULT.split, counts, RESULT.scores))
    assert "1 defective test image " in result.notes[0]
