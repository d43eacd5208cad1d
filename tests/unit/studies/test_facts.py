"""The facts about the origin of a version that need no MLflow server."""

from pathlib import Path

import pytest

from tinyunet.registry.evidence import Evidence
from tinyunet.studies.facts import facts

DIGEST = {"image_digest": "sha256:12"}


@pytest.mark.parametrize(
    ("tags", "value", "status"),
    [
        ({"in_image": "False"}, "not run in an image of this project", "recorded"),
        ({"in_image": "True"}, "", "missing"),
        ({"in_image": "True"} | DIGEST, "sha256:12", "recorded"),
        ({}, "", "missing"),  # a run of an earlier version, which does not say it
    ],
)
def test_the_digest_of_the_image_is_missing_only_where_there_was_an_image(
    tags: dict[str, str], value: str, status: str, tmp_path: Path
) -> None:
    evidence = Evidence("part", "1", (), {}, "7", tags, "FINISHED", tmp_path)
    (fact,) = (fact for fact in facts(evidence) if fact.name == "image digest")
    assert (fact.value, fact.status) == (value, status)
