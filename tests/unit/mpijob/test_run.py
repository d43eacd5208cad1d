"""What is said about a running job with another specification; tests/cluster has the real jobs."""

from dataclasses import replace

import pytest

from tinyunet.mpijob.client import Cluster
from tinyunet.mpijob.run import run_manifest
from tinyunet.mpijob.spec import Json, MPIJobSpec, build
from tinyunet.mpijob.status import JobFailed

SPEC = MPIJobSpec(name="ranks", image="trainer:old", command=("train",))


class OneJob(Cluster):
    """A cluster in which SPEC is running."""

    def __init__(self) -> None:
        self.namespace = "team"

    def create(self, manifest: Json) -> Json | None:
        return None

    def job(self, name: str) -> Json | None:
        return build(SPEC)


@pytest.mark.parametrize(
    ("spec", "difference"),
    [
        (replace(SPEC, image="trainer:new"), "the image trainer:old, not trainer:new"),
        (replace(SPEC, workers=3), "2 workers, not 3"),
        (replace(SPEC, command=("train", "other")), "the same image and number of workers, but another"),
    ],
)
def test_another_specification_is_refused_with_the_difference_and_what_to_do(
    spec: MPIJobSpec, difference: str
) -> None:
    with pytest.raises(JobFailed) as caught:
        run_manifest(OneJob(), build(spec), pending_seconds=1, log=lambda line: None)
    text = str(caught.value)
    assert f"running with another specification ({difference}" in text
    assert "stop the old one: kubectl -n team delete mpijob ranks (its ranks save a checkpoint)" in text
