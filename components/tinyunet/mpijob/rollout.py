"""Replace the servers of a registered model by new ones, which start with its champion, and wait for them.

The servers are Deployments of `make deploy SERVE=NAME`. They follow the champion by themselves. New pods show
that every server has the new version, because Kubernetes ends an old pod only when a new one is ready.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.retry import retry_while_unreachable
from tinyunet.mpijob.client import Cluster
from tinyunet.mpijob.spec import Json

NAMESPACE = "tinyunet"  # of `make deploy`
MODEL = "tinyunet/model"  # annotation of a Deployment: the registered model that it serves
VERSION = "tinyunet/version"  # annotation of its pod template: the version for which the pods were replaced
TIMEOUT_S, POLL_S = 900.0, 2.0
_CALL_TIMEOUT_S = (5, 30)


def roll_out(
    name: str,
    version: str,
    *,
    champion: bool = True,
    namespace: str = NAMESPACE,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Replace the pods that serve a model unless they were replaced for this version; wait for the new ones.

    Args:
        name: Registered model.
        version: Its champion.
        champion: Whether it is; nothing is done for another version.
        namespace: Namespace of the servers.
        timeout_s: Longest time to wait, in seconds.

    Returns:
        One line that says what was done.

    Raises:
        UserError: if nothing serves the model, the account has no permission, or the new pods do not become
            ready; the old ones then go on answering.
    """
    if not champion:
        return f"version {version} of {name} is not the champion: its servers are not changed"
    start, deployments = time.monotonic(), Deployments(namespace)
    found = retry_while_unreachable(lambda: deployments.of_model(name))
    if not found:
        raise UserError(
            f"no Deployment in namespace {namespace} serves {name}; create one: "
            f"make deploy OVERLAY=… SERVE={name}"
        )
    changed = [one for one in found if deployments.set_version(one, version)]
    for one in found:
        _wait(deployments, one, start + timeout_s)
    text = f"{', '.join(found)} in namespace {namespace} serves version {version} of {name}"
    seconds = time.monotonic() - start
    return f"{text} now: all pods are new ({seconds:.0f} s)" if changed else f"{text} already"


def require_deployer(namespace: str = NAMESPACE) -> None:
    """Check that this account may read the servers, before a run begins whose last step replaces them.

    Raises:
        UserError: if it may not.
    """
    retry_while_unreachable(lambda: Deployments(namespace).of_model(""))


class Deployments:
    """The Deployments of one namespace."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client

        Cluster(namespace)  # reads the service account or the kubeconfig
        self._api = client.AppsV1Api()
        self._namespace = namespace

    def of_model(self, name: str) -> list[str]:
        """Return the names of the Deployments that serve a model."""
        items = self._json(self._api.list_namespaced_deployment, self._namespace)["items"]
        found = [one["metadata"] for one in items]
        return sorted(one["name"] for one in found if (one.get("annotations") or {}).get(MODEL) == name)

    def set_version(self, name: str, version: str) -> bool:
        """Write the version into the pod template, which replaces the pods; return False if it was there."""
        template = self.read(name)["spec"]["template"]["metadata"]
        if (template.get("annotations") or {}).get(VERSION) == version:
            return False
        patch = {"spec": {"template": {"metadata": {"annotations": {VERSION: version}}}}}
        call = self._api.patch_namespaced_deployment
        retry_while_unreachable(lambda: self._json(call, name, self._namespace, patch))
        return True

    def read(self, name: str) -> Json:
        """Return a Deployment; wait for an API server that does not answer."""
        call = self._api.read_namespaced_deployment
        return retry_while_unreachable(lambda: self._json(call, name, self._namespace))

    def _json(self, call: Callable[..., Any], *arguments: object) -> Json:
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        try:
            answer: Json = json.loads(
                call(*arguments, _preload_content=False, _request_timeout=_CALL_TIMEOUT_S).data
            )
        except client.ApiException as error:
            if not error.status or error.status == 429 or error.status >= 500:
                raise Unreachable(f"the API server answers {error.status} {error.reason}") from error
            reason = (
                f"the API server answers {error.status} {error.reason} for Deployments in {self._namespace}"
            )
            remedy = "make connect NAMESPACE=… gives the runs of a namespace the Role tinyunet-deployer"
            raise UserError(f"{reason}; {remedy}, after make deploy") from error
        except (HTTPError, OSError, ValueError) as error:
            raise Unreachable(f"the API server does not answer ({error})") from error
        return answer


def _wait(deployments: Deployments, name: str, deadline: float) -> None:
    while True:
        deployment = deployments.read(name)
        if is_complete(deployment):
            return
        if (why := _failure(deployment)) or time.monotonic() > deadline:
            ready = deployment.get("status", {}).get("updatedReplicas", 0)
            raise UserError(
                f"the new pods of {name} are not ready ({why or f'{ready} were started'}), and the old ones "
                f"go on answering; see kubectl -n {deployment['metadata']['namespace']} describe pods -l "
                f"app.kubernetes.io/name=serving; kubectl rollout undo deployment {name} ends the attempt"
            )
        time.sleep(POLL_S)


def is_complete(deployment: Json) -> bool:
    """Return whether all pods are new and ready, and no old pod is left, as `kubectl rollout status` does."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(seen and counts == [wanted] * 3)


def _failure(deployment: Json) -> str:
    """Return why Kubernetes gave the rollout up; empty if it did not."""
    seen = deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    conditions = deployment.get("status", {}).get("conditions", ()) if seen else ()
    return next(
        (
            str(one.get("message", ""))
            for one in conditions
            if one.get("reason") == "ProgressDeadlineExceeded"
        ),
        "",
    )
