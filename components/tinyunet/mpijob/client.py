"""Calls of the MPIJob launcher to the Kubernetes API; arguments and results are plain JSON."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.mpijob.pods import belongs_to, event_time
from tinyunet.mpijob.spec import GROUP, VERSION, Json

QUEUES = ("kueue.x-k8s.io", "v1beta2")  # API of Kueue 0.15 and newer
_JOB_LABEL = "training.kubeflow.org/job-name"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT = (5, 30)  # seconds to connect, seconds between two bytes
_CONFLICT, _NOT_FOUND = 409, 404
_CACHED = {"resource_version": "0"}
_INSTALL = "https://github.com/kubeflow/mpi-operator, v0.8.2"


class Cluster:
    """MPIJobs, pods, logs and events of one namespace.

    Attributes:
        namespace: Kubernetes namespace of all calls.
    """

    def __init__(self, namespace: str = "") -> None:
        """Connect with the pod's service account, or with a kubeconfig outside a pod.

        An empty `namespace` is the pod's own one, or that of the kubeconfig's current context.

        Raises:
            UserError: if there is neither a service account nor a kubeconfig.
        """
        from kubernetes import client, config

        try:
            load = config.load_incluster_config if _in_pod() else config.load_kube_config
            load()
        except (config.ConfigException, OSError) as error:
            raise UserError(
                f"no Kubernetes cluster ({error}); expected a pod or a kubeconfig: set KUBECONFIG"
            ) from error
        self._core = client.CoreV1Api()
        self._custom = client.CustomObjectsApi()
        self.namespace = namespace or _own_namespace()

    def job(self, name: str) -> Json | None:
        """Return the MPIJob, or None. Its resource version is that of the answer: a watch can start there.

        A watch cannot start at the last change of the job if many other jobs have changed since (410 Gone).
        """
        call, selector = self._custom.list_namespaced_custom_object, f"metadata.name={name}"
        found = self._none_if_absent(call, *self._resource(), field_selector=selector)
        if not found or not found["items"]:
            return None
        job: Json = found["items"][0]
        job["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        return job

    def create(self, manifest: Json) -> Json | None:
        """Create an MPIJob; return it, or None if one of this name exists.

        Raises:
            UserError: if the CRD, the namespace or a permission is missing, or the manifest is invalid.
        """
        try:
            return self._json(self._custom.create_namespaced_custom_object, *self._resource(), manifest)
        except _RefusedError as error:
            if error.status == _CONFLICT:
                return None
            raise UserError(self._explain(error, "create")) from error

    def delete(self, name: str, *, seconds: float = 30) -> None:
        """Request the deletion of the MPIJob and its pods within `seconds`; do nothing if it is absent."""
        self._none_if_absent(
            self._custom.delete_namespaced_custom_object,
            *self._resource(),
            name,
            body={"propagationPolicy": "Foreground"},
            timeout=(1, seconds),
        )

    def set_owners(self, name: str, owners: list[Json]) -> None:
        """Write the MPIJob's owner references; Kubernetes deletes the job after its last owner."""
        patch = {"metadata": {"ownerReferences": owners}}
        self._none_if_absent(self._custom.patch_namespaced_custom_object, *self._resource(), name, patch)

    def pods(self, value: str, *, label: str = _JOB_LABEL, cached: bool = False) -> list[Json]:
        """Return the pods that have a label of this value, by default those of the job of this name.

        The cache of the API server may be late, but does not read all pods of the namespace for each job.
        """
        options = {"label_selector": f"{label}={value}"} | (_CACHED if cached else {})
        return self._items(self._core.list_namespaced_pod, self.namespace, **options)

    def pod(self, name: str) -> Json | None:
        """Return a pod, or None if it does not exist."""
        return self._none_if_absent(self._core.read_namespaced_pod, name, self.namespace)

    def events(self, name: str) -> list[Json]:
        """Return the events of the job and of its pods, oldest first; none where reading is forbidden."""
        events = self._permitted(self._core.list_namespaced_event, self.namespace) or []
        return sorted((one for one in events if belongs_to(one, name)), key=event_time)

    def workload(self, uid: str) -> Json | None:
        """Return Kueue's Workload of the job of this uid: empty if absent, None if it must not be read."""
        selector = f"kueue.x-k8s.io/job-uid={uid}"
        call, where = self._custom.list_namespaced_custom_object, (*QUEUES, self.namespace, "workloads")
        found = self._permitted(call, *where, label_selector=selector, **_CACHED)
        return None if found is None else next(iter(found), {})

    def wait(self, name: str, version: str, *, seconds: int) -> None:
        """Wait until the MPIJob's resource version changes, `seconds` pass or the connection breaks."""
        from kubernetes import client, watch

        start = time.monotonic()
        try:
            stream = watch.Watch().stream(
                self._custom.list_namespaced_custom_object,
                *self._resource(),
                field_selector=f"metadata.name={name}",
                resource_version=version,
                timeout_seconds=seconds,
                _request_timeout=(5, seconds + 5),
            )
            next(stream, None)
        except (client.ApiException, *_network_errors()):  # for example an expired version (410 Gone)
            time.sleep(max(0.0, 1 - (time.monotonic() - start)))  # at most one request per second

    def log(self, pod: str, *, since_seconds: int | None = None) -> Iterator[tuple[str, str]]:
        """Yield the lines of a pod's log until the pod ends, as (timestamp, line).

        Raises:
            Unreachable: if the connection breaks or the pod has no log.
        """
        from kubernetes import client

        since = {"since_seconds": since_seconds} if since_seconds else {}
        try:
            response = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                follow=True,
                timestamps=True,
                _preload_content=False,
                _request_timeout=(5, 120),
                **since,
            )
            with contextlib.closing(response):
                for raw in response:
                    stamp, _, line = raw.decode("utf-8", "replace").rstrip("\n").partition(" ")
                    yield stamp, line
        except (client.ApiException, *_network_errors()) as error:
            raise Unreachable(str(error)) from error

    def _resource(self) -> tuple[str, str, str, str]:
        return (GROUP, VERSION, self.namespace, "mpijobs")

    def _items(self, call: Callable[..., Any], *args: object, **kwargs: object) -> list[Json]:
        try:
            items: list[Json] = self._json(call, *args, **kwargs)["items"]
        except _RefusedError as error:
            raise UserError(self._explain(error, "read")) from error
        return items

    def _permitted(self, call: Callable[..., Any], *args: object, **kwargs: object) -> list[Json] | None:
        try:
            return self._items(call, *args, **kwargs)
        except Unreachable:
            raise
        except UserError:
            return None

    def _none_if_absent(self, call: Callable[..., Any], *args: object, **kwargs: object) -> Json | None:
        try:
            return self._json(call, *args, **kwargs)
        except _RefusedError as error:
            if error.status == _NOT_FOUND:
                return None
            raise UserError(self._explain(error, "read or change")) from error

    def _json(
        self, call: Callable[..., Any], *args: object, timeout: object = _TIMEOUT, **kwargs: object
    ) -> Json:
        from kubernetes import client

        try:
            answer: Json = json.loads(
                call(*args, _preload_content=False, _request_timeout=timeout, **kwargs).data
            )
        except client.ApiException as error:
            if not error.status or error.status == 429 or error.status >= 500:
                raise Unreachable(f"{error.status} {error.reason}") from error
            raise _RefusedError(error.status, _server_message(error.body)) from error
        except _network_errors() as error:
            raise Unreachable(str(error)) from error
        return answer

    def _explain(self, error: "_RefusedError", verb: str) -> str:
        text = error.message
        crd_terminating = "custom resource definition is terminating" in text
        if error.status in (401, 403) and not crd_terminating:
            return f"no permission to {verb}: {text}; bind the Role tinyunet-launcher (k8s/base)"
        if error.status == _NOT_FOUND and "namespace" in text:
            return f"namespace {self.namespace!r} does not exist ({text}); create it or name another"
        if error.status == _NOT_FOUND or crd_terminating:
            kind = f"MPIJob {GROUP}/{VERSION}"
            return f"the cluster has no API for {kind} ({text}); install the MPI Operator: {_INSTALL}"
        return f"the cluster refuses the MPIJob ({error.status}): {text}"


class _RefusedError(Exception):
    """An error answer of the API server that does not mean an outage."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def _network_errors() -> tuple[type[Exception], ...]:
    from urllib3.exceptions import HTTPError

    return (HTTPError, OSError, json.JSONDecodeError)


def _server_message(body: str | bytes | None) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    with contextlib.suppress(json.JSONDecodeError, AttributeError):
        text = str(json.loads(text).get("message") or text)
    return " ".join(text.split())[:600]


def _in_pod() -> bool:
    return _NAMESPACE_FILE.exists() and "KUBECONFIG" not in os.environ


def _own_namespace() -> str:
    from kubernetes import config

    if _in_pod():
        return _NAMESPACE_FILE.read_text().strip()
    with contextlib.suppress(config.ConfigException, OSError):
        _, active = config.list_kube_config_contexts()
        return str(active["context"].get("namespace") or "default")
    return "default"
