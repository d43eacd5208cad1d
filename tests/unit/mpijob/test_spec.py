"""The MPIJob specification and its manifest: names, ranks, settings of the workers, permissions of pods."""

from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.mpijob.scripts import STOP_LAUNCHER, STOP_WORKER, WAIT_FOR_WORKERS
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods, build, job_name

SPEC = MPIJobSpec(name="job", image="image", command=("true",), workers=2)


def container(manifest: dict[str, Any], role: str) -> dict[str, Any]:
    return manifest["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]["containers"][0]


def test_ranks_are_workers_times_slots() -> None:
    manifest = build(MPIJobSpec(name="a", image="i", command=("x",), workers=3, slots_per_worker=4))
    command = container(manifest, "Launcher")["command"]
    assert command[command.index("-np") + 1] == "12"
    assert manifest["spec"]["slotsPerWorker"] == 4
    assert manifest["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == 3


def test_gpus_and_their_tolerations_reach_the_workers_only() -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    pods = WorkerPods(
        resources={"limits": {"nvidia.com/gpu": "1", "memory": "16G"}},
        tolerations=[toleration],
        node_selector={"gpu": "a100"},
    )
    manifest = build(MPIJobSpec(name="a", image="i", command=("x",), pods=pods))
    worker = manifest["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]
    launcher = manifest["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]
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
    manifest = build(MPIJobSpec(name="a", image="i", command=("x",), pods=pods))
    assert volume in manifest["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]["volumes"]
    assert mount in container(manifest, "Worker")["volumeMounts"]
    assert volume not in manifest["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["volumes"]


def test_both_pods_mount_the_certificates_of_a_private_ca_once() -> None:
    volume = {"name": "tinyunet-ca", "configMap": {"name": "tinyunet-ca", "optional": True}}
    mount = {"name": "tinyunet-ca", "mountPath": "/etc/tinyunet-ca"}
    given = WorkerPods(volumes=[volume], volume_mounts=[mount])  # the train task of a pipeline passes them
    for pods in (WorkerPods(), given):
        manifest = build(MPIJobSpec(name="a", image="i", command=("x",), pods=pods))
        for role in ("Launcher", "Worker"):
            spec = manifest["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]
            assert [one for one in spec["volumes"] if one["name"] == "tinyunet-ca"] == [volume]
            mounts = container(manifest, role)["volumeMounts"]
            assert [one["mountPath"] for one in mounts if one["name"] == "tinyunet-ca"] == [
                "/etc/tinyunet-ca"
            ]


def test_a_job_with_a_queue_is_created_suspended() -> None:
    manifest = build(MPIJobSpec(name="a", image="i", command=("x",), queue="gpus", priority="urgent"))
    labels = {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "urgent"}
    assert labels.items() <= manifest["metadata"]["labels"].items()
    assert manifest["spec"]["runPolicy"]["suspend"] is True
    assert "suspend" not in build(SPEC)["spec"]["runPolicy"]
    for replica in manifest["spec"]["mpiReplicaSpecs"].values():
        assert not labels.keys() & replica["template"]["metadata"]["labels"].keys()


def test_a_launcher_waits_for_its_workers_only_in_a_queue() -> None:
    def command(queue: str) -> list[str]:
        manifest = build(MPIJobSpec(name="a", image="i", command=("x",), queue=queue))
        template = manifest["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]
        return list(template["spec"]["containers"][0]["command"])

    assert command("gpus") == ["/bin/sh", "-c", WAIT_FOR_WORKERS, "mpirun", *command("")]


def test_a_secret_is_exported_by_name_only() -> None:
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "k"}}}
    manifest = build(MPIJobSpec(name="a", image="i", command=("x",), pods=WorkerPods(env=[secret])))
    command = container(manifest, "Launcher")["command"]
    assert command[command.index("KEY") - 1] == "-x"
    assert secret in container(manifest, "Launcher")["env"]
    assert secret in container(manifest, "Worker")["env"]


def test_the_digest_depends_on_the_work_and_not_on_time_limits() -> None:
    def digest(**changes: Any) -> str:
        manifest = build(MPIJobSpec(**({"name": "a", "image": "i", "command": ("x",)} | changes)))
        return manifest["metadata"]["annotations"]["tinyunet/spec-digest"]

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


def test_both_pods_ask_the_ranks_to_stop_before_kubernetes_ends_them() -> None:
    for role, script in (("Launcher", STOP_LAUNCHER), ("Worker", STOP_WORKER)):
        stop = container(build(SPEC), role)["lifecycle"]["preStop"]["exec"]["command"]
        assert stop == ["/bin/sh", "-c", script]
        spec = build(SPEC)["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] == 60


def test_a_worker_that_no_launcher_reaches_has_a_deadline_of_its_own() -> None:
    manifest = build(MPIJobSpec(name="a", image="i", command=("x",), deadline_seconds=100))
    worker = manifest["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]
    assert worker["activeDeadlineSeconds"] == 3700
    assert manifest["spec"]["runPolicy"]["activeDeadlineSeconds"] == 100


@pytest.mark.parametrize("name", ["Job", "1job", "a_b", "a-", "x" * 60, ""])
def test_a_name_that_is_invalid_in_dns_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="expected lower-case letters"):
        MPIJobSpec(name=name, image="i", command=("x",))


@pytest.mark.parametrize("field", ["workers", "slots_per_worker", "deadline_seconds", "pending_seconds"])
def test_a_count_below_one_is_refused_by_name(field: str) -> None:
    with pytest.raises(UserError, match=f"{field} is 0; expected at least 1"):
        MPIJobSpec(**{"name": "a", "image": "i", "command": ("x",), field: 0})


@pytest.mark.parametrize(
    "key", ["demo", "3f2b7c1e-52e0-4b43-9e2a-6f4f9f0c1d2e", "Ünï çode/run 7", "x" * 300, "x" * 50, "-", "9"]
)
def test_job_names_are_valid_and_leave_room_for_worker_numbers(key: str) -> None:
    MPIJobSpec(name=job_name(key), image="i", command=("x",), workers=1000)
    assert job_name(key) == job_name(key)


def test_similar_keys_get_different_names() -> None:
    assert len({job_name(key) for key in ("a-b", "a_b", "A-B", "a--b", "a-b-")}) == 5


def test_all_pods_have_the_pull_secrets_of_a_private_registry() -> None:
    manifest = build(MPIJobSpec(name="a", image="i", command=("x",), pull_secrets=("registry-key",)))
    for role in ("Launcher", "Worker"):
        pod = manifest["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]
        assert pod["imagePullSecrets"] == [{"name": "registry-key"}]
        assert "imagePullSecrets" not in build(SPEC)["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]
