"""Versions and the alias `champion` in a registry without a server; tests/services uses a real one."""

from typing import Any

import mlflow
import pytest

from tests.unit.examples import evaluated_model, evaluation, scores
from tests.unit.registry.conftest import NAME
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.registry.versions import REASON, model_key, update_champion, version_scores, version_tags

DATA = evaluation().data


def add_version(client: mlflow.MlflowClient, **tags: object) -> str:
    texts = {key: str(value) for key, value in tags.items()}
    return str(client.create_model_version(NAME, "s3://tinyunet/none", tags=texts).version)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0.4},
        {"test": scores(image_threshold=0.4)},
        {"test": scores(dice_defective=0.7)},
        {"data": DATA.model_copy(update={"test_digest": "e" * 64})},
    ],
    ids=["threshold", "image_threshold", "dice_defective", "test_digest"],
)
def test_another_evaluation_of_a_model_has_another_key(changes: dict[str, Any]) -> None:
    assert model_key("a" * 64, evaluation(**changes)) != model_key("a" * 64, evaluation())


def test_the_same_scores_of_another_model_have_another_key() -> None:
    assert model_key("b" * 64, evaluation()) != model_key("a" * 64, evaluation())


def test_other_scores_do_not_change_the_key() -> None:
    other = evaluation(test=scores(image_ap=0.9))
    assert model_key("a" * 64, other) == model_key("a" * 64, evaluation())


def test_the_key_of_an_evaluation_is_that_of_earlier_releases() -> None:
    assert model_key("a" * 64, evaluation()) == "3dc16f92ffa79c15"


def test_tags_describe_model_and_evaluation() -> None:
    data = DATA.model_copy(update={"synthetic": True})
    result: Evaluation = evaluation(threshold=0.25, test=scores(image_ap=None), data=data)
    assert version_tags("k", evaluated_model(git_revision="abc"), result).tags() == {
        "tinyunet.model_key": "k",
        "test_digest": "d" * 64,
        "dice_defective": "0.8",
        "image_ap": "",
        "threshold": "0.25",
        "image_threshold": "0.5",
        "git_revision": "abc",
        "preset": "fast",
        "synthetic": "True",
        "weights_digest": "w" * 64,
    }


def test_scores_are_read_from_the_tags(client: mlflow.MlflowClient) -> None:
    version = add_version(client, test_digest="d", dice_defective=0.5, image_ap=0.9, synthetic=True)
    read = version_scores(client, NAME, version)
    assert (read.version, read.test_digest, read.dice, read.ap) == (version, "d", 0.5, 0.9)
    assert read.synthetic
    assert read.weights == "", "a version of an early release has no digest of the weights"


def test_a_version_without_tags_has_scores_of_zero_on_unknown_images(client: mlflow.MlflowClient) -> None:
    read = version_scores(client, NAME, add_version(client))
    assert (read.test_digest, read.dice, read.ap, read.synthetic) == ("unknown", 0.0, 0.0, False)


def test_the_alias_moves_and_the_reason_of_a_champion_is_not_changed(client: mlflow.MlflowClient) -> None:
    run = client.create_run("0").info.run_id
    values = {"test_digest": "d", "dice_defective": 0.5, "image_ap": 0.9}
    real, synthetic = add_version(client, **values), add_version(client, **values, synthetic=True)
    for version, champion in ((synthetic, True), (real, True), (real, True), (synthetic, False)):
        assert update_champion(client, run, NAME, version)[0] is champion
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == real
    reasons = [client.get_model_version(NAME, version).tags[REASON] for version in (real, synthetic)]
    assert reasons[0].startswith(f"version {real} replaces version {synthetic} as champion")
    assert reasons[1].startswith(f"version {real} stays champion")
    assert client.get_run(run).data.tags[REASON] == reasons[1]
