"""Functions that read values from the JSON of pods and events."""

from typing import Any

from tinyunet.mpijob.pods import (
    created_at,
    disrupted_pods,
    event_time,
    image_digests,
    is_disrupted,
    launcher_pod,
    worker_uids,
)


def pod(name: str, role: str, **metadata: Any) -> dict[str, Any]:
    labels = {"training.kubeflow.org/job-role": role}
    return {"metadata": {"name": name, "uid": f"uid of {name}", "labels": labels, **metadata}}


def test_an_events_time_is_that_of_its_last_occurrence() -> None:
    created = {"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}}
    micro = {"eventTime": "2026-01-01T00:00:02.999999Z"}
    last = {"lastTimestamp": "2026-01-01T00:00:03Z"}
    assert event_time(created) == created_at(created) == "2026-01-01T00:00:01"
    assert event_time(created | micro | {"lastTimestamp": None}) == "2026-01-01T00:00:02"
    assert event_time(created | micro | last) == "2026-01-01T00:00:03"


def test_the_newest_launcher_pod_counts() -> None:
    old = pod("old", "launcher", creationTimestamp="2026-01-01T00:00:01Z")
    new = pod("new", "launcher", creationTimestamp="2026-01-01T00:00:02Z")
    assert launcher_pod([new, pod("worker", "worker"), old]) is new
    assert launcher_pod([pod("worker", "worker")]) is None


def test_workers_that_are_being_deleted_do_not_count() -> None:
    pods = [pod("a", "worker"), pod("b", "worker", deletionTimestamp="now"), pod("c", "launcher")]
    assert worker_uids(pods) == {"a": "uid of a"}


def test_an_event_of_an_earlier_pod_of_the_same_name_disrupts_no_pod() -> None:
    events = [
        {"reason": reason, "involvedObject": {"name": name, "uid": uid}}
        for name, uid, reason in (("a", "1", "Evicted"), ("b", "2", "Pulled"), ("a", "0", "Preempted"))
    ]
    assert disrupted_pods(events, ["1", "2"]) == {"a"}
    assert disrupted_pods(events, ["3"]) == set()


def test_a_failed_pod_is_disrupted_only_if_the_cluster_ended_it() -> None:
    target = [{"type": "DisruptionTarget", "status": "True"}]
    assert is_disrupted({"status": {"phase": "Failed", "reason": "Evicted"}})
    assert is_disrupted({"status": {"phase": "Failed", "conditions": target}})
    assert not is_disrupted({"status": {"phase": "Running", "conditions": target}})
    assert not is_disrupted({"status": {"phase": "Failed", "reason": "Error"}})


def test_the_digest_of_an_image_is_that_of_the_registry_or_of_an_imported_image() -> None:
    ids = ["registry.example.org/trainer@sha256:12", "sha256:34", "docker-pullable://trainer@sha256:12", ""]
    pods = [{"status": {"containerStatuses": [{"imageID": one}]}} for one in ids]
    assert image_digests([*pods, {"status": {}}, {}]) == {"sha256:12", "sha256:34"}
