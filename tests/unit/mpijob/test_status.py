"""The outcome and the obstacles that follow from the status, pods and events of an MPIJob."""

from typing import Any

import pytest

from tinyunet.mpijob.spec import MPIJobSpec, build
from tinyunet.mpijob.status import Obstacle, Outcome, Snapshot, obstacle, outcome

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


def terminated(code: int, reason: str = "Error") -> list[dict[str, Any]]:
    return [{"state": {"terminated": {"exitCode": code, "reason": reason}}}]


def waiting(reason: str, message: str) -> list[dict[str, Any]]:
    return [{"image": "image", "state": {"waiting": {"reason": reason, "message": message}}}]


class TestOutcome:
    def test_success_needs_the_condition_and_the_completion_time(self) -> None:
        assert outcome(Snapshot(job(("Succeeded", "MPIJobSucceeded")))) is None
        assert outcome(Snapshot(job(("Succeeded", "MPIJobSucceeded"), finished=True))) == Outcome()

    def test_a_failure_carries_the_launchers_exit_code(self) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded/Error"), finished=True),
            [pod("launcher", "Failed", containerStatuses=terminated(3))],
        )
        assert outcome(snapshot) == Outcome(reason="launcher exited 3", exit_code=3)

    def test_a_failed_condition_without_completion_time_is_not_an_outcome(self) -> None:
        assert outcome(Snapshot(job(("Failed", "BackoffLimitExceeded")))) is None

    def test_an_eviction_is_an_outcome_only_after_the_launcher_has_ended_and_permits_a_restart(self) -> None:
        evicted, worker = job(("Failed", "MPIJobEvicted")), pod("worker", "Failed", reason="Evicted")
        assert outcome(Snapshot(evicted, [worker, pod("launcher", "Running")])) is None
        end = outcome(Snapshot(evicted, [worker, pod("launcher", "Failed", containerStatuses=terminated(1))]))
        assert end is not None
        assert end.lost
        assert end.reason == "failed: a pod was evicted or deleted (job-worker)"

    def test_a_worker_that_disappeared_is_a_lost_pod_whatever_the_launchers_exit_code(self) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=terminated(1))],
        )
        end = outcome(snapshot, lost=["job-worker-1"])
        assert end is not None
        assert end.lost
        assert "job-worker-1" in end.reason

    @pytest.mark.parametrize(
        "line",
        [
            "ORTE has lost communication with a remote daemon.",
            "An ORTE daemon has unexpectedly failed",
            "* an inability to create a connection back to mpirun due to a",  # no DNS
        ],
    )
    def test_mpiruns_message_about_a_lost_host_means_a_lost_pod(self, line: str) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=terminated(1))],
        )
        end = outcome(snapshot, tail=["step 20/100", line])
        reason = "failed: the launcher lost the connection to a worker pod (launcher exited 1)"
        assert end == Outcome(reason=reason, exit_code=1, lost=True)

    @pytest.mark.parametrize(
        ("code", "reason"),
        [(75, "its lease was not renewed"), (140, "the cluster ended one of its pods")],
    )
    def test_ranks_that_saved_a_checkpoint_before_they_ended_permit_a_restart(
        self, code: int, reason: str
    ) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=terminated(code))],
        )
        reason = f"stopped with a checkpoint: {reason}"
        assert outcome(snapshot) == Outcome(reason=reason, exit_code=code, lost=True)

    def test_a_missing_launcher_pod_is_a_lost_pod(self) -> None:
        end = outcome(Snapshot(job(("Failed", "BackoffLimitExceeded"), finished=True)))
        assert end == Outcome(reason="failed: its launcher pod no longer exists", exit_code=1, lost=True)

    def test_an_exceeded_deadline_is_reported_with_its_length(self) -> None:
        end = outcome(Snapshot(job(("Failed", "DeadlineExceeded"), finished=True)))
        assert end == Outcome(reason="failed: it ran longer than its limit of 86400 s", exit_code=1)

    def test_an_out_of_memory_kill_is_reported_with_the_pod_and_its_limit(self) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [
                pod("worker", "Failed", containerStatuses=terminated(137, "OOMKilled")),
                pod("launcher", "Failed", containerStatuses=terminated(1)),
            ],
        )
        end = outcome(snapshot)
        assert end is not None
        assert not end.lost
        assert end.reason.startswith("job-worker was OOMKilled at its memory limit of 4Gi")

    def test_a_rank_killed_in_a_running_worker_is_reported_as_out_of_memory(self) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=terminated(137))],
        )
        end = outcome(snapshot)
        assert end is not None
        assert end.exit_code == 137
        assert "most likely OOMKilled" in end.reason
        for line in (
            "mpirun noticed that process rank 1 with PID 9 on node job-worker-1 exited on signal 9 (Killed).",
            "mpirun detected that one or more processes exited with non-zero status, thus causing",
        ):
            tail = ["step 20/100", "-" * 74, line, "-" * 74]
            assert outcome(snapshot, tail=tail, complete=True) == end

    @pytest.mark.parametrize("tail", [[], ["step 20/100"]])
    def test_a_killed_launcher_is_a_lost_pod_as_mpirun_reports_no_rank(self, tail: list[str]) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=terminated(137))],
        )
        end = outcome(snapshot, tail=tail, complete=True)
        assert end == Outcome(reason="failed: its launcher was killed (signal 9)", exit_code=137, lost=True)

    def test_a_killed_launcher_is_no_lost_pod_if_the_report_of_mpirun_may_be_missing(self) -> None:
        snapshot = Snapshot(
            job(("Failed", "BackoffLimitExceeded"), finished=True),
            [pod("launcher", "Failed", containerStatuses=terminated(137))],
        )
        end = outcome(snapshot, tail=["step 20/100"], complete=False)
        assert end is not None
        assert not end.lost


class TestObstacle:
    def test_a_job_whose_launcher_runs_has_no_obstacle(self) -> None:
        assert obstacle(Snapshot(job(("Created", "x")), [pod("launcher", "Running")])) is None

    def test_a_refused_specification_is_final_and_reported_in_the_operators_words(self) -> None:
        event = {"reason": "ValidationError", "message": "Found validation errors: spec.x"}
        found = obstacle(Snapshot(job(), events=[event]))
        assert found == Obstacle(
            text="the MPI Operator refuses the job: Found validation errors: spec.x", final=True
        )

    def test_a_job_without_conditions_is_reported_as_not_processed(self) -> None:
        found = obstacle(Snapshot(job()))
        assert found is not None
        assert "has not processed the job" in found.text
        assert not found.final

    def test_an_unschedulable_worker_is_reported_in_the_schedulers_words(self) -> None:
        unscheduled = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes",
        }
        snapshot = Snapshot(job(("Created", "x")), [pod("worker", "Pending", conditions=[unscheduled])])
        assert obstacle(snapshot) == Obstacle(
            text="job-worker cannot be scheduled (Unschedulable): 0/1 nodes"
        )

    @pytest.mark.parametrize(("reason", "final"), [("ImagePullBackOff", False), ("InvalidImageName", True)])
    def test_an_image_that_cannot_be_pulled_is_reported_and_an_invalid_name_is_final(
        self, reason: str, final: bool
    ) -> None:
        snapshot = Snapshot(
            job(("Created", "x")), [pod("worker", "Pending", containerStatuses=waiting(reason, "no such"))]
        )
        assert obstacle(snapshot) == Obstacle(
            text=f"job-worker cannot start ({reason}): no such", final=final
        )

    def test_a_final_obstacle_is_reported_before_one_that_may_pass(self) -> None:
        pulling = pod("worker", "Pending", containerStatuses=waiting("ImagePullBackOff", "no answer"))
        wrong = pod("launcher", "Pending", containerStatuses=waiting("InvalidImageName", "no such"))
        found = obstacle(Snapshot(job(("Created", "x")), [pulling, wrong]))
        assert found == Obstacle(text="job-launcher cannot start (InvalidImageName): no such", final=True)

    def test_a_refused_launcher_is_reported_until_its_pod_exists(self) -> None:
        event = {
            "type": "Warning",
            "reason": "FailedCreate",
            "message": "exceeded quota",
            "involvedObject": {"uid": "0"},
        }
        pods = [pod("worker", "Running", name=f"job-worker-{n}") for n in range(2)]
        found = obstacle(Snapshot(job(("Created", "x")), pods, [event]))
        assert found == Obstacle(text="the cluster refuses a pod: exceeded quota")
        assert obstacle(Snapshot(job(("Created", "x")), [*pods, pod("launcher", "Pending")], [event])) is None

    def test_a_quota_that_refuses_pods_is_reported(self) -> None:
        event = {
            "type": "Warning",
            "reason": "MPIJobFailed",
            "message": "worker pod created failed: exceeded quota",
        }
        found = obstacle(Snapshot(job(("Created", "x")), events=[event]))
        assert found is not None
        assert found.text == "the cluster refuses a pod: worker pod created failed: exceeded quota"

    def test_a_worker_that_fails_before_the_launcher_exists_is_final(self) -> None:
        snapshot = Snapshot(
            job(("Created", "x")), [pod("worker", "Failed", containerStatuses=terminated(255))]
        )
        found = obstacle(snapshot)
        assert found == Obstacle(text="job-worker failed before training began (exit code 255)", final=True)

    def test_a_warning_is_an_obstacle_until_a_later_event_and_only_for_its_own_pod(self) -> None:
        def event(kind: str, message: str, uid: str = "1") -> dict[str, Any]:
            return {"type": kind, "message": message, "involvedObject": {"name": "job-worker", "uid": uid}}

        def found(*events: dict[str, Any]) -> Obstacle | None:
            return obstacle(Snapshot(job(("Created", "x")), [pod("worker", "Pending"), launcher], events))

        launcher = pod("launcher", "Pending") | {"metadata": {"name": "job-launcher", "uid": "2"}}
        unmounted = event("Warning", "no such volume")
        assert found(unmounted) == Obstacle(text="job-worker cannot start: no such volume")
        assert found(unmounted, event("Normal", "Pulling image")) is None
        assert found(event("Normal", "Pulling image"), event("Warning", "not ready", uid="0")) is None
