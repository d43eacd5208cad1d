"""The example job in k8s/mpijob.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyunet.core.errors import UserError
from tinyunet.mpijob.example import example, manifest

MANIFEST = Path(__file__).parents[3] / "k8s" / "mpijob.yaml"


def container(job: dict[str, Any], role: str) -> dict[str, Any]:
    return job["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("registry", "tag", "name"),
    [("https://x y", "", "registry"), ("a\nb", "", "registry"), ("", "a: b", "tag")],
)
def test_a_value_that_would_change_the_manifest_is_refused(registry: str, tag: str, name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} is '"):
        manifest(registry, tag)


def test_the_printed_manifest_is_the_committed_one() -> None:
    assert manifest() == MANIFEST.read_text()


def test_registry_and_tag_change_the_images_and_the_digest() -> None:
    job = yaml.safe_load(manifest("registry.example.org/", "7"))
    images = {container(job, role)["image"] for role in ("Launcher", "Worker")}
    assert images == {"registry.example.org/tinyunet/trainer-cpu:7"}
    assert job["metadata"]["annotations"] != example()["metadata"]["annotations"]


def test_the_ranks_receive_a_tracking_uri_and_the_variable_that_identifies_a_pod() -> None:
    """A rank in a pod refuses to run without a tracking URI; sessions of sshd inherit no variables."""
    command = container(example(), "Launcher")["command"]
    store = {"name": "MLFLOW_TRACKING_URI", "value": "sqlite:////tmp/runs/mlflow.db"}
    assert store in container(example(), "Launcher")["env"]
    assert command[command.index("MLFLOW_TRACKING_URI") - 1] == "-x"
    assert "KUBERNETES_SERVICE_HOST; do" in container(example(), "Worker")["command"][-1]
