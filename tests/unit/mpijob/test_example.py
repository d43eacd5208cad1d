"""The example jobs in k8s/mpijob.yaml and k8s/mpijob-gpu.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyunet.core.errors import UserError
from tinyunet.mpijob.example import example, manifest

FOLDER = Path(__file__).parents[3] / "k8s"


def container(job: dict[str, Any], role: str) -> dict[str, Any]:
    return job["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("registry", "tag", "name"),
    [("https://x y", "", "registry"), ("a\nb", "", "registry"), ("", "a: b", "tag")],
)
def test_a_value_that_would_change_the_manifest_is_refused(registry: str, tag: str, name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} is '"):
        manifest(registry, tag)


def test_the_printed_manifests_are_the_committed_ones() -> None:
    assert manifest() == (FOLDER / "mpijob.yaml").read_text()
    assert manifest(gpu=True) == (FOLDER / "mpijob-gpu.yaml").read_text()


def test_the_job_for_gpus_has_one_for_each_slot_and_trains_in_mixed_float16() -> None:
    job = yaml.safe_load(manifest("registry.example.org", "7", gpu=True))
    worker = job["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]
    assert container(job, "Worker")["image"] == "registry.example.org/tinyunet/trainer:7"
    assert container(job, "Worker")["resources"]["limits"]["nvidia.com/gpu"] == job["spec"]["slotsPerWorker"]
    assert "precision=mixed_float16" in container(job, "Launcher")["command"]
    assert worker["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert job["metadata"]["name"] != example()["metadata"]["name"]
    header = manifest(gpu=True).partition("apiVersion")[0]
    explained = {entry["name"] for entry in container(job, "Worker")["env"]} - {
        "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "MLFLOW_TRACKING_URI",
    }  # fmt: skip
    assert {"NCCL_SOCKET_IFNAME", "NCCL_DEBUG"} <= explained
    assert [name for name in explained if name not in header] == []


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


def test_a_claim_becomes_the_folder_of_compiled_steps_of_the_workers() -> None:
    job = yaml.safe_load(manifest(gpu=True, compile_cache="steps"))
    worker = job["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]
    (volume,) = [one for one in worker["volumes"] if "persistentVolumeClaim" in one]
    assert volume["persistentVolumeClaim"] == {"claimName": "steps"}
    (mount,) = [one for one in container(job, "Worker")["volumeMounts"] if one["name"] == volume["name"]]
    entry = {"name": "TINYUNET_COMPILE_CACHE", "value": mount["mountPath"]}
    assert entry in container(job, "Worker")["env"]
    command = container(job, "Launcher")["command"]
    assert command[command.index(entry["name"]) - 1] == "-x"


def test_a_claim_for_a_job_on_cpus_is_refused() -> None:
    with pytest.raises(UserError, match=r"^compile-cache is 'steps'"):
        manifest(compile_cache="steps")
