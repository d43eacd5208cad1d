"""Tags of a version are strings in MLflow and typed here."""

import pytest

from tinyunet.core.documents.version import VersionTags
from tinyunet.core.errors import UserError


def test_tags_survive_the_registry() -> None:
    tags = VersionTags(model_key="k", dice_defective=0.5, image_ap=None, synthetic=True, test_digest="d")
    assert VersionTags.read(tags.tags() | {"tinyunet.champion_reason": "first"}) == tags
    assert tags.tags()["image_ap"] == ""
    assert tags.tags()["synthetic"] == "True"
    assert tags.tags()["tinyunet.model_key"] == "k"


def test_a_version_without_tags_is_of_unknown_images() -> None:
    assert VersionTags.read({}) == VersionTags(test_digest="unknown", dice_defective=None)


def test_a_tag_that_does_not_fit_is_one_line_with_tag_and_value() -> None:
    with pytest.raises(
        UserError, match="the tag dice_defective of a model version is 'high'; expected a"
    ) as error:
        VersionTags.read({"dice_defective": "high"})
    assert "\n" not in str(error.value)
