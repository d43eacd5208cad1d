"""The tasks among the nodes of Argo, for backends and failures of which no answer was recorded."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from fake_kfp import recorded

from pipeline.nodes import full_names, tasks

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def fnv1a(text: str) -> int:
    """The hash of Argo's node ids, in its plain form."""
    digest = 2166136261
    for byte in text.encode():
        digest = (digest ^ byte) * 16777619 % 2**32
    return digest


def node_id(name: str) -> str:
    return f"w-abc-{fnv1a(name)}"


def run_of(states: dict[str, str], children: dict[str, list[str]]) -> Any:
    """Return a run as the SDK does, from the states of nodes by full name and the names of their children."""
    details = [
        SimpleNamespace(
            display_name=name.rsplit(".", 1)[-1],
            state=state,
            start_time=NOW,
            end_time=NOW,
            child_tasks=[SimpleNamespace(pod_name=node_id(child)) for child in children.get(name, [])],
        )
        for name, state in states.items()
    ]
    return SimpleNamespace(run_details=SimpleNamespace(task_details=details))


def test_the_hash_is_fnv_1a() -> None:
    assert [fnv1a(text) for text in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


@pytest.mark.parametrize("name", ["classes-one-failed.json", "run-with-pod-replaced.json"])
def test_every_id_of_a_recorded_run_has_one_name(name: str) -> None:
    answers = recorded(name)["run_details"]["task_details"]
    ids = {child["pod_name"] for answer in answers for child in answer.get("child_tasks", [])}
    details = [
        SimpleNamespace(
            display_name=answer.get("display_name"),
            child_tasks=[SimpleNamespace(**child) for child in answer.get("child_tasks", [])],
        )
        for answer in answers
    ]
    names = full_names(details)
    assert set(names.values()) == ids
    assert len(names) == len(ids), "no id has two names"


def test_a_backend_without_a_retry_strategy_has_no_attempts() -> None:
    run = run_of(
        {"w-abc": "RUNNING", "w-abc.root": "RUNNING", "w-abc.root.train": "FAILED"}
        | {"w-abc.root.train.executor": "FAILED"},
        {"w-abc": ["w-abc.root"], "w-abc.root": ["w-abc.root.train"]}
        | {"w-abc.root.train": ["w-abc.root.train.executor"]},
    )
    (task,) = tasks(run)
    assert (task.name, task.state, task.node) == ("train", "FAILED", node_id("w-abc.root.train.executor"))


def test_a_task_whose_driver_failed_is_shown_with_the_pod_of_the_driver() -> None:
    run = run_of(
        {"w-abc": "FAILED", "w-abc.train-driver": "FAILED"}
        | {f"w-abc.train-driver({number})": "FAILED" for number in range(2)},
        {"w-abc": ["w-abc.train-driver"]}
        | {"w-abc.train-driver": [f"w-abc.train-driver({number})" for number in range(2)]},
    )
    (task,) = tasks(run)
    assert (task.name, task.node) == ("train", node_id("w-abc.train-driver(1)"))


def test_a_run_without_nodes_has_no_tasks() -> None:
    assert tasks(SimpleNamespace(run_details=None)) == []
