"""Checks in the cluster before anything is prepared for an MPIJob: permissions, and the GPUs of nodes."""

import json
from typing import Any

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.mpijob.client import QUEUES, Cluster
from tinyunet.mpijob.spec import GROUP, VERSION

TIMEOUT_S = (5, 30)
# Verbs that the launcher needs, as in k8s/base/role.yaml. It also works without a permission to list events.
NEEDED = (
    *((GROUP, "mpijobs", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
    ("", "pods", "get"),
    ("", "pods", "list"),
    ("", "pods/log", "get"),
)


def require_mpijobs(namespace: str = "") -> None:
    """Check that the cluster has MPIJobs and that this account may create and follow them.

    Args:
        namespace: Namespace of the job; empty is the pod's own one.

    Raises:
        UserError: if the MPI Operator is not installed or a permission is missing.
        Unreachable: if the API server does not answer.
    """
    cluster = Cluster(namespace)
    if not _has_mpijobs():
        raise UserError(
            f"the cluster has no API for MPIJob {GROUP}/{VERSION}; install the MPI Operator: "
            "https://github.com/kubeflow/mpi-operator, v0.8.2"
        )
    missing = [f"{verb} {name}" for group, name, verb in NEEDED if not _may(cluster, group, name, verb)]
    if missing:
        raise UserError(
            f"the service account of this pod may not {', '.join(missing)} in namespace {cluster.namespace}; "
            f"run: make connect NAMESPACE={cluster.namespace} (it binds the Role tinyunet-launcher)"
        )


def require_queue(queue: str, namespace: str = "") -> None:
    """Check that the namespace has a LocalQueue of this name, because a job would wait for it for ever.

    Args:
        queue: Name of the LocalQueue; nothing is checked if it is empty or this account may not read it.
        namespace: Namespace of the job; empty is the pod's own one.

    Raises:
        UserError: if it has none, or the cluster has no Kueue.
        Unreachable: if the API server does not answer.
    """
    from kubernetes import client

    if not queue or not _may(cluster := Cluster(namespace), QUEUES[0], "localqueues", "get"):
        return
    where = (*QUEUES, cluster.namespace, "localqueues", queue)
    if _call(client.CustomObjectsApi().get_namespaced_custom_object, *where) is None:
        raise UserError(
            f"queue {queue!r} does not exist in namespace {cluster.namespace}; expected a LocalQueue, "
            f"{'/'.join(QUEUES)}: see kubectl -n {cluster.namespace} get localqueues"
        )


def nodes() -> list[dict[str, Any]] | None:
    """Return the nodes of the cluster as Kubernetes JSON; None if this account may not list them.

    Raises:
        Unreachable: if the API server does not answer.
    """
    from kubernetes import client

    Cluster()  # reads the address and the credentials of the API server
    answer = _call(client.CoreV1Api().list_node)
    return None if answer is None else list(answer["items"])


def _has_mpijobs() -> bool:
    from kubernetes import client

    answer = _call(client.CustomObjectsApi().get_api_resources, GROUP, VERSION)
    return answer is not None and any(one["name"] == "mpijobs" for one in answer["resources"])


def _may(cluster: Cluster, group: str, name: str, verb: str) -> bool:
    """Return whether this account has a permission; a SelfSubjectAccessReview needs none itself."""
    from kubernetes import client

    resource, _, subresource = name.partition("/")
    attributes = {"namespace": cluster.namespace, "group": group, "resource": resource, "verb": verb}
    attributes |= {"subresource": subresource} if subresource else {}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = _call(client.AuthorizationV1Api().create_self_subject_access_review, review)
    return answer is None or bool(answer["status"].get("allowed"))  # None: the job's creation will tell


def _call(call: Any, *arguments: object) -> dict[str, Any] | None:  # noqa: ANN401  a method of the client
    """Return the JSON of an answer; None if the API server has no such resource or refuses the request."""
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    try:
        answer: dict[str, Any] = json.loads(
            call(*arguments, _preload_content=False, _request_timeout=TIMEOUT_S).data
        )
    except client.ApiException as error:
        if not error.status or error.status == 429 or error.status >= 500:
            raise Unreachable(f"the API server answers {error.status} {error.reason}") from error
        return None
    except (HTTPError, OSError) as error:
        raise Unreachable(f"the API server does not answer ({error})") from error
    return answer
