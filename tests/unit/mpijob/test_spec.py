"""The MPIJob builder: names, ranks, what reaches the workers, and what pods may do."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyunet.core.errors import UserError
from tinyunet.mpijob.example import example, manifest
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods, build, job_name

MANIFEST = Path(__file__).parents[3] / "k8s" / "mpijob.yaml"
SPEC = MPIJobSpec(name="job", image="image", command=("true",), workers=2)


def container(manifest: dict[str, Any], role: str) -> dict[str, Any]:
    return manifest["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]["containers"][0]


def test_its_output_is_the_committed_manifest() -> None:
    assert manifest() == MANIFEST.read_text()


def test_the_example_is_made_for_images_of_another_registry_and_tag() -> None:
    made = yaml.safe_load(manifest("registry.example.org/", "7"))
    images = {container(made, role)["image"] for role in ("Launcher", "Worker")}
    assert images == {"registry.example.org/tinyunet/trainer-cpu:7"}
    assert made["metadata"]["annotations"] != example()["metadata"]["annotations"]


def test_the_example_names_its_store_and_its_ranks_know_that_they_are_in_a_pod() -> None:
    """A rank in a pod refuses to keep its run in an unnamed file; ssh sessions get no pod's variables."""
    command = container(example(), "Launcher")["command"]
    store = {"name": "MLFLOW_TRACKING_URI", "value": "sqlite:////tmp/runs/mlflow.db"}
    assert store in container(example(), "Launcher")["env"]
    assert command[command.index("MLFLOW_TRACKING_URI") - 1] == "-x"
    assert "KUBERNETES_SERVICE_HOST; do" in container(example(), "Worker")["command"][-1]


def test_ranks_are_workers_times_slots() -> None:
    made = build(MPIJobSpec(name="a", image="i", command=("x",), workers=3, slots_per_worker=4))
    command = container(made, "Launcher")["command"]
    assert command[command.index("-np") + 1] == "12"
    assert made["spec"]["slotsPerWorker"] == 4
    assert made["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == 3


def test_gpus_and_their_tolerations_reach_the_workers_only() -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    pods = WorkerPods(
        resources={"limits": {"nvidia.com/gpu": "1", "memory": "16G"}},
        tolerations=[toleration],
        node_selector={"gpu": "a100"},
    )
    made = build(MPIJobSpec(name="a", image="i", command=("x",), pods=pods))
    worker = made["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]
    launcher = made["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]
    assert worker["containers"][0]["resources"] == {
        "limits": {"nvidia.com/gpu": "1", "memory": "16G"},
        "requests": {"cpu": "500m", "memory": "16G"},
    }
    assert worker["tolerations"] == [toleration]
    assert worker["nodeSelector"] == {"gpu": "a100"}
    assert "nvidia.com/gpu" not in launcher["containers"][0]["resources"]["limits"]
    assert not {"tolerations", "nodeSelector"} & set(launcher)


def test_volumes_and_their_mounts_reach_the_workers_only() -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "dagm"}}
    mount = {"name": "data", "mountPath": "/data"}
    pods = WorkerPods(volumes=[volume], volume_mounts=[mount])
    made = build(MPIJobSpec(name="a", image="i", command=("x",), pods=pods))
    assert volume in made["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]["volumes"]
    assert mount in container(made, "Worker")["volumeMounts"]
    assert volume not in made["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["volumes"]


def test_a_job_of_a_queue_waits_until_it_is_admitted() -> None:
    made = build(MPIJobSpec(name="a", image="i", command=("x",), queue="gpus"))
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert made["spec"]["runPolicy"]["suspend"] is True
    assert "suspend" not in build(SPEC)["spec"]["runPolicy"]


def test_a_secret_is_exported_by_name_and_its_value_is_nowhere() -> None:
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "k"}}}
    made = build(MPIJobSpec(name="a", image="i", command=("x",), pods=WorkerPods(env=[secret])))
    command = container(made, "Launcher")["command"]
    assert command[command.index("KEY") - 1] == "-x"
    assert secret in container(made, "Launcher")["env"]
    assert secret in container(made, "Worker")["env"]


def test_the_digest_follows_the_work_and_not_the_owner_or_patience() -> None:
    def digest(**changes: Any) -> str:
        made = build(MPIJobSpec(**({"name": "a", "image": "i", "command": ("x",)} | changes)))
        return made["metadata"]["annotations"]["tinyunet/spec-digest"]

    assert digest() == digest(pending_seconds=5, restarts=1)
    assert digest() != digest(command=("y",))
    assert digest() != digest(workers=3)


def test_both_pods_satisfy_pod_security_restricted() -> None:
    for role in ("Launcher", "Worker"):
        security = container(build(SPEC), role)["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["allowPrivilegeEscalation"] is False
        spec = build(SPEC)["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", ["Job", "1job", "a_b", "a-", "x" * 60, ""])
def test_a_name_that_dns_refuses_is_refused_here(name: str) -> None:
    with pytest.raises(UserError, match="expected lower-case letters"):
        MPIJobSpec(name=name, image="i", command=("x",))


@pytest.mark.parametrize("field", ["workers", "slots_per_worker", "deadline_seconds", "pending_seconds"])
def test_counts_below_one_are_refused_by_name(field: str) -> None:
    with pytest.raises(UserError, match=f"{field} is 0; expected at least 1"):
        MPIJobSpec(**{"name": "a", "image": "i", "command": ("x",), field: 0})


@pytest.mark.parametrize(
    "key", ["demo", "3f2b7c1e-52e0-4b43-9e2a-6f4f9f0c1d2e", "Ünï çode/run 7", "x" * 300, "x" * 50, "-", "9"]
)
def test_job_names_are_valid_and_leave_room_for_worker_numbers(key: str) -> None:
    MPIJobSpec(name=job_name(key), image="i", command=("x",), workers=1000)
    assert job_name(key) == job_name(key)


def test_keys_that_look_alike_get_different_names() -> None:
    assert len({job_name(key) for key in ("a-b", "a_b", "A-B", "a--b", "a-b-")}) == 5
