"""The MPIJob builder, and what its status, pods and events mean."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tinyunet.errors import UserError
from tinyunet.runtime.mpijob_example import example, main
from tinyunet.runtime.mpijob_pods import born, happened
from tinyunet.runtime.mpijob_spec import MPIJobSpec, WorkerPods, build, job_name
from tinyunet.runtime.mpijob_status import Obstacle, Outcome, Snapshot, obstacle, outcome

MANIFEST = Path(__file__).parents[2] / "k8s" / "mpijob.yaml"
SPEC = MPIJobSpec(name="job", image="image", command=("true",), workers=2)


def job(*conditions: tuple[str, str], finished: bool = False) -> dict[str, Any]:
    status: dict[str, Any] = {
        "conditions": [{"type": kind, "status": "True", "reason": reason} for kind, reason in conditions]
    }
    if finished:
        status["completionTime"] = "2026-01-01T00:00:00Z"
    return build(SPEC) | {"status": status}


def pod(role: str, phase: str, *, name: str = "", **status: Any) -> dict[str, Any]:
    labels = {"training.kubeflow.org/job-role": role}
    meta = {"name": name or f"job-{role}", "uid": "1", "labels": labels}
    limits = {"limits": {"memory": "4Gi"}}
    return {
        "metadata": meta,
        "spec": {"containers": [{"resources": limits}]},
        "status": {"phase": phase, **status},
    }


def ended(code: int, reason: str = "Error") -> list[dict[str, Any]]:
    return [{"state": {"terminated": {"exitCode": code, "reason": reason}}}]


def waiting(reason: str, message: str) -> list[dict[str, Any]]:
    return [{"image": "image", "state": {"waiting": {"reason": reason, "message": message}}}]


def container(manifest: dict[str, Any], role: str) -> dict[str, Any]:
    return manifest["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]["containers"][0]


class TestBuilder:
    def test_its_output_is_the_committed_manifest(self, capsys: pytest.CaptureFixture[str]) -> None:
        main()
        assert capsys.readouterr().out == MANIFEST.read_text()

    def test_the_example_is_made_for_images_of_another_registry_and_tag(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main("registry.example.org/", "7")
        made = yaml.safe_load(capsys.readouterr().out)
        images = {container(made, role)["image"] for role in ("Launcher", "Worker")}
        assert images == {"registry.example.org/tinyunet/trainer-cpu:7"}
        assert made["metadata"]["annotations"] != example()["metadata"]["annotations"]

    def test_the_example_names_its_store_and_its_ranks_know_that_they_are_in_a_pod(self) -> None:
        """A rank in a pod refuses to keep its run in an unnamed file; ssh sessions get no pod's variables."""
        command = container(example(), "Launcher")["command"]
        store = {"name": "MLFLOW_TRACKING_URI", "value": "sqlite:////tmp/runs/mlflow.db"}
        assert store in container(example(), "Launcher")["env"]
        assert command[command.index("MLFLOW_TRACKING_URI") - 1] == "-x"
        assert "KUBERNETES_SERVICE_HOST; do" in container(example(), "Worker")["command"][-1]

    def test_ranks_are_workers_times_slots(self) -> None:
        made = build(MPIJobSpec(name="a", image="i", command=("x",), workers=3, slots_per_worker=4))
        command = container(made, "Launcher")["command"]
        assert command[command.index("-np") + 1] == "12"
        assert made["spec"]["slotsPerWorker"] == 4
        assert made["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == 3

    def test_gpus_and_their_tolerations_reach_the_workers_only(self) -> None:
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

    def test_volumes_of_the_task_reach_the_workers_only(self) -> None:
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "dagm"}}
        mount = {"name": "data", "mountPath": "/data"}
        task = SimpleNamespace(volumes=[volume], volume_mounts=[mount], affinity=None)
        made = build(MPIJobSpec(name="a", image="i", command=("x",), pods=WorkerPods.of_task(task)))
        replicas = made["spec"]["mpiReplicaSpecs"]
        assert volume in replicas["Worker"]["template"]["spec"]["volumes"]
        assert mount in container(made, "Worker")["volumeMounts"]
        assert volume not in replicas["Launcher"]["template"]["spec"]["volumes"]

    def test_a_secret_is_exported_by_name_and_its_value_is_nowhere(self) -> None:
        secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "k"}}}
        made = build(MPIJobSpec(name="a", image="i", command=("x",), pods=WorkerPods(env=[secret])))
        command = container(made, "Launcher")["command"]
        assert command[command.index("KEY") - 1] == "-x"
        assert secret in container(made, "Launcher")["env"]
        assert secret in container(made, "Worker")["env"]

    def test_the_digest_follows_the_work_and_not_the_owner_or_patience(self) -> None:
        def digest(**changes: Any) -> str:
            made = build(MPIJobSpec(**({"name": "a", "image": "i", "command": ("x",)} | changes)))
            return made["metadata"]["annotations"]["tinyunet/spec-digest"]

        assert digest() == digest(pending_seconds=5, restarts=1)
        assert digest() != digest(command=("y",))
        assert digest() != digest(workers=3)

    def test_both_pods_satisfy_pod_security_restricted(self) -> None:
        for role in ("Launcher", "Worker"):
            security = container(build(SPEC), role)["securityContext"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["allowPrivilegeEscalation"] is False
            spec = build(SPEC)["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["automountServiceAccountToken"] is False

    @pytest.mark.parametrize("name", ["Job", "1job", "a_b", "a-", "x" * 60, ""])
    def test_a_name_that_dns_refuses_is_refused_here(self, name: str) -> None:
        with pytest.raises(UserError, match="expected lower-case letters"):
            MPIJobSpec(name=name, image="i", command=("x",))

    @pytest.mark.parametrize("field", ["workers", "slots_per_worker", "deadline_seconds", "pending_seconds"])
    def test_counts_below_one_are_refused_by_name(self, field: str) -> None:
        with pytest.raises(UserError, match=f"{field} is 0; expected at least 1"):
            MPIJobSpec(**{"name": "a", "image": "i", "command": ("x",), field: 0})

    @pytest.mark.parametrize(
        "key", ["demo", "3f2b7c1e-52e0-4b43-9e2a-6f4f9f0c1d2e", "Ünï çode/run 7", "x" * 300, "-", "9"]
    )
    def test_job_names_are_valid_and_leave_room_for_worker_numbers(self, key: str) -> None:
        MPIJobSpec(name=job_name(key), image="i", command=("x",), workers=1000)
        assert job_name(key) == job_name(key)

    def test_keys_that_look_alike_get_different_names(self) -> None:
        assert len({job_name(key) for key in ("a-b", "a_b", "A-B", "a--b", "a-b-")}) == 5


class TestOutcome:
    def test_success_needs_the_condition_and_the_completion_time(self) -> None:
        assert outcome(Snapshot(job(("Succeeded", "MPIJobSucceeded")))) is None
        assert outcome(Snapshot(job(("Succeeded", "MPIJobSucceeded"), finished=True))) == Outcome()

    def test_a_failure_carries_the_launchers_exit_code(self) -> None:
        seen = Snapshot(
            job(("Failed", "BackoffLimitExceeded/Error"), finished=True),
            [pod("launcher", "Failed", containerStatuses=ended(3))],
        )
        assert outcome(seen) == Outcome(reason="launcher exited 3", exit_code=3)

    def test_failed_without_completion_is_not_an_end(self) -> None:
        assert outcome(Snapshot(job(("Failed", "BackoffLimitExceeded")))) is None

    def test_an_eviction_ends_the_job_once_its_launcher_is_gone_and_may_be_retried(self) -> None:
        evicted, worker = job(("Failed", "MPIJobEvicted")), pod("worker", "Failed", reason="Evicted")
        assert outcome(Snapshot(evicted, [worker, pod("launcher", "Running")])) is None
        end = outcome(Snapshot(evicted, [worker, pod("launcher", "Failed", containerStatuses=ended(1))]))
        assert end is not None
        assert end.lost
        assert "job-worker evicted or deleted" in end.reason

    def test_a_worker_seen_to_vanish_is_a_lost_pod_whatever_the_launcher_said(self) -> None:
        seen = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=ended(1))],
        )
        end = outcome(seen, lost=["job-worker-1"])
        assert end is not None
        assert end.lost
        assert "job-worker-1" in end.reason

    def test_a_launcher_pod_that_is_gone_is_a_lost_pod(self) -> None:
        end = outcome(Snapshot(job(("Failed", "BackoffLimitExceeded"), finished=True)))
        assert end == Outcome(reason="lost its launcher pod", exit_code=1, lost=True)

    def test_the_deadline_is_named(self) -> None:
        end = outcome(Snapshot(job(("Failed", "DeadlineExceeded"), finished=True)))
        assert end == Outcome(reason="exceeded its deadline of 86400 s", exit_code=1)

    def test_an_out_of_memory_kill_names_the_pod_and_its_limit(self) -> None:
        seen = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [
                pod("worker", "Failed", containerStatuses=ended(137, "OOMKilled")),
                pod("launcher", "Failed", containerStatuses=ended(1)),
            ],
        )
        end = outcome(seen)
        assert end is not None
        assert not end.lost
        assert end.reason.startswith("job-worker was OOMKilled at its memory limit of 4Gi")

    def test_a_rank_killed_inside_a_living_worker_is_told_as_out_of_memory(self) -> None:
        seen = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=ended(137))],
        )
        end = outcome(seen)
        assert end is not None
        assert end.exit_code == 137
        assert "most likely OOMKilled" in end.reason


class TestObstacle:
    def test_a_running_launcher_has_none(self) -> None:
        assert obstacle(Snapshot(job(("Created", "x")), [pod("launcher", "Running")])) is None

    def test_a_refused_spec_is_final_and_in_the_operators_words(self) -> None:
        event = {"reason": "ValidationError", "message": "Found validation errors: spec.x"}
        found = obstacle(Snapshot(job(), events=[event]))
        assert found == Obstacle(
            text="the MPI Operator refuses the job: Found validation errors: spec.x", final=True
        )

    def test_a_job_that_no_operator_took_up_says_so(self) -> None:
        found = obstacle(Snapshot(job()))
        assert found is not None
        assert "has not taken up" in found.text
        assert not found.final

    def test_an_unschedulable_worker_is_told_in_the_schedulers_words(self) -> None:
        unscheduled = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes",
        }
        seen = Snapshot(job(("Created", "x")), [pod("worker", "Pending", conditions=[unscheduled])])
        assert obstacle(seen) == Obstacle(text="job-worker cannot be scheduled (Unschedulable): 0/1 nodes")

    @pytest.mark.parametrize(("reason", "final"), [("ImagePullBackOff", False), ("InvalidImageName", True)])
    def test_an_image_that_does_not_come_is_told_and_a_wrong_name_is_final(
        self, reason: str, final: bool
    ) -> None:
        seen = Snapshot(
            job(("Created", "x")), [pod("worker", "Pending", containerStatuses=waiting(reason, "no such"))]
        )
        assert obstacle(seen) == Obstacle(text=f"job-worker cannot start ({reason}): no such", final=final)

    def test_a_quota_that_refuses_pods_is_told(self) -> None:
        event = {
            "type": "Warning",
            "reason": "MPIJobFailed",
            "message": "worker pod created failed: exceeded quota",
        }
        found = obstacle(Snapshot(job(("Created", "x")), events=[event]))
        assert found is not None
        assert found.text == "the cluster refuses a pod: worker pod created failed: exceeded quota"

    def test_a_queue_may_take_its_time(self) -> None:
        found = obstacle(Snapshot(job(("Created", "x"), ("Suspended", "y"))))
        assert found is not None
        assert not found.counted

    def test_a_worker_that_fails_before_the_launcher_exists_is_final(self) -> None:
        seen = Snapshot(job(("Created", "x")), [pod("worker", "Failed", containerStatuses=ended(255))])
        found = obstacle(seen)
        assert found == Obstacle(text="job-worker failed before training began (exit code 255)", final=True)

    def test_a_warning_counts_until_there_is_progress_and_only_of_this_pod(self) -> None:
        def event(kind: str, message: str, uid: str = "1") -> dict[str, Any]:
            return {"type": kind, "message": message, "involvedObject": {"name": "job-worker", "uid": uid}}

        def found(*events: dict[str, Any]) -> Obstacle | None:
            return obstacle(Snapshot(job(("Created", "x")), [pod("worker", "Pending"), launcher], events))

        launcher = pod("launcher", "Pending") | {"metadata": {"name": "job-launcher", "uid": "2"}}
        unmounted = event("Warning", "no such volume")
        assert found(unmounted) == Obstacle(text="job-worker cannot start: no such volume")
        assert found(unmounted, event("Normal", "Pulling image")) is None
        assert found(event("Normal", "Pulling image"), event("Warning", "not ready", uid="0")) is None


class TestTimes:
    def test_an_event_is_as_old_as_the_last_that_it_stands_for(self) -> None:
        made = {"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}}
        micro = {"eventTime": "2026-01-01T00:00:02.999999Z"}
        last = {"lastTimestamp": "2026-01-01T00:00:03Z"}
        assert happened(made) == born(made) == "2026-01-01T00:00:01"
        assert happened(made | micro | {"lastTimestamp": None}) == "2026-01-01T00:00:02"
        assert happened(made | micro | last) == "2026-01-01T00:00:03"
