"""Objects of the cluster: a namespace for a test, lists, and waiting until a condition holds."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster import Cluster

_numbers = itertools.count(1)


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """Create a namespace, yield its name, and delete it."""
    name = f"test-{next(_numbers)}"
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def list_objects(cluster: Cluster, kind: str, namespace: str) -> list[dict]:
    """Return the objects of a kind in a namespace."""
    return json.loads(cluster.kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]


def nothing_runs(cluster: Cluster, namespace: str) -> bool:
    """Return whether no pod of the namespace is running or pending."""
    phases = {pod["status"]["phase"] for pod in list_objects(cluster, "pods", namespace)}
    return not phases & {"Running", "Pending"}


def wait_until(condition: str, call: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `call` returns a true value; `condition` describes it for the failure message."""
    deadline = time.monotonic() + seconds
    while not call():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {condition}"
        time.sleep(0.2)
