"""Why a task waits or failed, as Kubernetes and the log of its pod say it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import kfp
import kfp_server_api
import urllib3

from tinyunet.core.errors import UserError
from tinyunet.core.urls import redact

LAST_LINES = 10
LOG_TIMEOUT_S = 30
RUN_LABEL, NODE_ANNOTATION = "pipeline/runid", "workflows.argoproj.io/node-id"
LAUNCHER_LINE = re.compile(r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\] ")  # of KFP's launcher
RAISED = re.compile(r"^[\w.]+(Error|Exception|Exit|Interrupt|Failed|Unreachable)(: |$)")


def failure_lines(client: kfp.Client, run_id: str, node: str) -> list[str]:
    """Return the last lines that the program of a failed pod printed; the error alone if it raised one.

    Args:
        client: Client of the API.
        run_id: Id of the run.
        node: Argo's id of the pod's node.

    Returns:
        At most ten lines; empty if the log cannot be read.
    """
    try:
        text = _log(client, run_id, node)
    except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError):
        return []
    lines = [redact(line.rstrip()) for line in text.splitlines() if not LAUNCHER_LINE.match(line)]
    lines = [line for line in lines if line]
    return lines[-1:] if lines and RAISED.match(lines[-1]) else lines[-LAST_LINES:]


def _log(client: kfp.Client, run_id: str, node: str) -> str:
    """Return the log of a node; the SDK has no method for this route of the API."""
    api = client._run_api.api_client
    answer = api.call_api(
        "/apis/v1alpha1/runs/{run}/nodes/{node}/log",
        "GET",
        path_params={"run": run_id, "node": node},
        header_params={"Accept": "*/*"},
        auth_settings=["Bearer"],
        _preload_content=False,
        _request_timeout=LOG_TIMEOUT_S,
    )
    return str((answer[0] if isinstance(answer, tuple) else answer).data, "utf-8", "replace")


def waiting_reasons(run_id: str, namespace: str) -> dict[str, str]:
    """Return why pods of a run do not start, by Argo's id of the node.

    Returns:
        An empty dictionary if this machine has no access to the pods of that namespace.
    """
    from tinyunet.mpijob.client import Cluster

    try:
        pods = Cluster(namespace).pods(run_id, label=RUN_LABEL)
    except UserError:
        return {}
    reasons = ((pod["metadata"].get("annotations") or {}, next(_reasons(pod["status"]), "")) for pod in pods)
    return {about[NODE_ANNOTATION]: why for about, why in reasons if why and NODE_ANNOTATION in about}


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a pod does not start: it has no node, or a container cannot be created."""
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{condition.get('reason')}: {condition.get('message')}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("message"):
            yield f"{waiting.get('reason')}: {waiting['message']}"
