"""The tasks of a run on Kubeflow Pipelines, found among the nodes of Argo that its API returns.

The API returns every node of Argo as a "task": the drivers, the loops and their items, and each of them
again for every attempt. A node has a display name and the ids of its children, but neither its own id nor its
parent. Argo makes the id of a node from the name of the workflow and the FNV-1a hash of the node's full name,
and the full name begins with that of the parent. The full names are therefore those whose ids are known.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

FNV_OFFSET, FNV_PRIME = 0x811C9DC5, 0x01000193  # of the 32-bit FNV-1a hash
ATTEMPT = re.compile(r"\((\d+)\)$")
ITEM = re.compile(r"\((\d+):[^)]*\)")  # Argo's name of an item of a loop: index and value
EXECUTOR, DRIVER = ".executor", "-driver"
FAILED, RUNNING = "FAILED", "RUNNING"


@dataclass(frozen=True)
class Task:
    """A task of the pipeline in one run.

    Attributes:
        key: Argo's full name of the node, unique in the run.
        name: Name of the task in the compiled pipeline.
        item: Index of the loop's item that the task belongs to; None outside a loop.
        state: State as the API names it, such as RUNNING.
        start: Time at which the task started, in UTC.
        end: Time at which it ended; the year is 1 before that.
        node: Argo's id of its newest pod; empty if there is none yet.
        waiting: Whether its pod has not started.
    """

    key: str
    name: str
    item: int | None
    state: str
    start: datetime
    end: datetime
    node: str
    waiting: bool


def tasks(run: Any) -> list[Task]:  # noqa: ANN401  the SDK's class is untyped
    """Return the tasks of a run that have started, in the order of their start.

    A task whose driver failed never starts. It is returned with the state of the driver.
    """
    details = [d for d in _details(run) if d.display_name and d.state]
    ids = full_names(_details(run))
    names = {node_id: name for name, node_id in ids.items()}
    pending = {d.start_time for d in details if _is_pending_pod(d)}
    found = []
    for detail in details:
        if ATTEMPT.search(detail.display_name):
            continue  # the node of which this is an attempt has the state of the newest attempt
        name = _full_name(detail, names)
        if newest := _newest_pod(name, ids):
            waiting = detail.state == RUNNING and detail.start_time in pending
            found.append(_task(detail, name, detail.display_name, ids[newest], waiting=waiting))
        elif detail.state == FAILED and name.endswith(DRIVER):
            last = max(_attempts(name, ids), key=_attempt)
            found.append(_task(detail, name, detail.display_name.removesuffix(DRIVER), ids[last]))
    return sorted(found, key=lambda task: (task.start, task.key))


def full_names(details: Sequence[Any]) -> dict[str, str]:
    """Return Argo's ids of the nodes by their full names, without the root, which is no child.

    Args:
        details: `task_details` of a run.
    """
    ids = {child.pod_name for detail in details for child in detail.child_tasks or ()}
    displayed = {detail.display_name for detail in details if detail.display_name}
    found: dict[str, str] = {}
    workflow = next(iter(ids), "").rpartition("-")[0]
    frontier = [(workflow, workflow, _fnv(workflow, FNV_OFFSET))] if ids else []
    while frontier:
        name, last, digest = frontier.pop()
        for display, suffix in _suffixes(last, displayed):
            child = _fnv(suffix, digest)
            node_id = f"{workflow}-{child}"
            if node_id in ids and name + suffix not in found:
                found[name + suffix] = node_id
                frontier.append((name + suffix, display, child))
    return found


def _suffixes(last: str, displayed: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what may follow a node of this display name: a child, or an attempt, an item or an exit hook."""
    for display in displayed:
        yield display, f".{display}"
        if display.startswith(last) and display != last:
            yield display, display.removeprefix(last)


def _fnv(text: str, digest: int) -> int:
    for byte in text.encode():
        digest = (digest ^ byte) * FNV_PRIME & 0xFFFFFFFF
    return digest


def _full_name(detail: Any, names: Mapping[str, str]) -> str:  # noqa: ANN401
    """Return the full name of a node that has attempts or an executor as children; empty for other nodes."""
    for child in detail.child_tasks or ():
        name = names.get(child.pod_name, "")
        parent = ATTEMPT.sub("", name) if ATTEMPT.search(name) else name.removesuffix(EXECUTOR)
        if parent != name and parent.endswith(f".{detail.display_name}"):
            return parent
    return ""


def _newest_pod(name: str, ids: Mapping[str, str]) -> str:
    """Return the full name of a task's newest pod; empty if the node is not a task or has no pod yet."""
    executors = [f"{one}{EXECUTOR}" for one in (name, *_attempts(name, ids))] if name else []
    pods = [pod for one in executors for pod in _attempts(one, ids)]
    pods = pods or [one for one in executors if one in ids]
    return max(pods, key=lambda pod: [int(number) for number in re.findall(r"\((\d+)\)", pod)], default="")


def _attempts(name: str, ids: Mapping[str, str]) -> list[str]:
    return [one for one in ids if ATTEMPT.sub("", one) == name and one != name]


def _attempt(name: str) -> int:
    match = ATTEMPT.search(name)
    return int(match[1]) if match else 0


def _is_pending_pod(detail: Any) -> bool:  # noqa: ANN401
    return bool(detail.state == "PENDING" and detail.display_name.startswith("executor"))


def _task(detail: Any, key: str, name: str, node: str, *, waiting: bool = False) -> Task:  # noqa: ANN401
    item = ITEM.search(key)
    return Task(
        key=key,
        name=name,
        item=int(item[1]) if item else None,
        state=detail.state,
        start=detail.start_time,
        end=detail.end_time,
        node=node,
        waiting=waiting,
    )


def _details(run: Any) -> Sequence[Any]:  # noqa: ANN401
    return (run.run_details.task_details if run.run_details else None) or ()
