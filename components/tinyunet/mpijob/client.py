"""The few calls that the MPIJob launcher makes to Kubernetes, in plain JSON."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.mpijob.pods import happened
from tinyunet.mpijob.spec import GROUP, VERSION, Json

_JOB_LABEL = "training.kubeflow.org/job-name"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT = (5, 30)  # seconds to connect, seconds between two bytes
_CONFLICT, _GONE_OR_ABSENT = 409, 404
_INSTALL = "https://github.com/kubeflow/mpi-operator, v0.8.2"


class Cluster:
    """MPIJobs, pods, logs and events of one namespace.

    Attributes:
        namespace: Where everything happens.
    """

    def __init__(self, namespace: str = "") -> None:
        """Connect as the pod's service account, or by kubeconfig.

        Raises:
            UserError: if there is neither.
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
        """Read the MPIJob; None if there is none."""
        return self._absent_is_none(self._custom.get_namespaced_custom_object, *self._where(), name)

    def create(self, manifest: Json) -> Json | None:
        """Create an MPIJob; None if one of that name exists.

        Raises:
            UserError: no CRD, no namespace, no permission or an invalid manifest.
        """
        try:
            return self._json(self._custom.create_namespaced_custom_object, *self._where(), manifest)
        except _Refused as error:
            if error.status == _CONFLICT:
                return None
            raise UserError(self._explain(error, "create")) from error

    def delete(self, name: str, *, seconds: float = 30) -> None:
        """Ask for the MPIJob's deletion, with everything that belongs to it; absent is fine."""
        self._absent_is_none(
            self._custom.delete_namespaced_custom_object,
            *self._where(),
            name,
            body={"propagationPolicy": "Foreground"},
            timeout=(1, seconds),
        )

    def own(self, name: str, owners: list[Json]) -> None:
        """Write the MPIJob's owners: it is removed when the last of them is."""
        patch = {"metadata": {"ownerReferences": owners}}
        self._absent_is_none(self._custom.patch_namespaced_custom_object, *self._where(), name, patch)

    def pods(self, name: str) -> list[Json]:
        """List the job's pods."""
        selector = f"{_JOB_LABEL}={name}"
        return self._items(self._core.list_namespaced_pod, self.namespace, label_selector=selector)

    def image(self, pod: str) -> str:
        """Give the image of a pod's `main` container, or of its first."""
        found = self._absent_is_none(self._core.read_namespaced_pod, pod, self.namespace)
        if found is None:
            raise UserError(
                f"pod {self.namespace}/{pod} does not exist; set TINYUNET_IMAGE to the trainer image"
            )
        containers = found["spec"]["containers"]
        return str(next((one for one in containers if one["name"] == "main"), containers[0])["image"])

    def events(self, name: str) -> list[Json]:
        """List events about the job and what it made, oldest first; empty where reading them is forbidden."""
        try:
            found = self._items(self._core.list_namespaced_event, self.namespace)
        except Unreachable:
            raise
        except UserError:
            return []
        mine = [one for one in found if _belongs(str(one["involvedObject"].get("name", "")), name)]
        return sorted(mine, key=happened)

    def wait(self, name: str, version: str, *, seconds: int) -> None:
        """Return when the MPIJob changes after `version`, the time is over, or the watch breaks."""
        from kubernetes import client, watch

        start = time.monotonic()
        try:
            stream = watch.Watch().stream(
                self._custom.list_namespaced_custom_object,
                *self._where(),
                field_selector=f"metadata.name={name}",
                resource_version=version,
                timeout_seconds=seconds,
                _request_timeout=(5, seconds + 5),
            )
            next(stream, None)
        except (client.ApiException, *_network_errors()):
            time.sleep(max(0.0, 1 - (time.monotonic() - start)))  # gone (410), cut or refused: look anew

    def log(self, pod: str, *, since_seconds: int | None = None) -> Iterator[tuple[str, str]]:
        """Follow a pod's log to its end as (sortable timestamp, line).

        Raises:
            Unreachable: if the connection breaks or the pod has no log.
        """
        from kubernetes import client

        extra = {"since_seconds": since_seconds} if since_seconds else {}
        try:
            response = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                follow=True,
                timestamps=True,
                _preload_content=False,
                _request_timeout=(5, 120),
                **extra,
            )
            with contextlib.closing(response):
                for raw in response:
                    stamp, _, line = raw.decode("utf-8", "replace").rstrip("\n").partition(" ")
                    yield _sortable(stamp), line
        except (client.ApiException, *_network_errors()) as error:
            raise Unreachable(str(error)) from error

    def _where(self) -> tuple[str, str, str, str]:
        return (GROUP, VERSION, self.namespace, "mpijobs")

    def _items(self, call: Callable[..., Any], *args: object, **kwargs: object) -> list[Json]:
        try:
            items: list[Json] = self._json(call, *args, **kwargs)["items"]
        except _Refused as error:
            raise UserError(self._explain(error, "read")) from error
        return items

    def _absent_is_none(self, call: Callable[..., Any], *args: object, **kwargs: object) -> Json | None:
        try:
            return self._json(call, *args, **kwargs)
        except _Refused as error:
            if error.status == _GONE_OR_ABSENT:
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
            raise _Refused(error.status, _server_message(error.body)) from error
        except _network_errors() as error:
            raise Unreachable(str(error)) from error
        return answer

    def _explain(self, error: "_Refused", verb: str) -> str:
        text = error.message
        leaving = "custom resource definition is terminating" in text
        if error.status in (401, 403) and not leaving:
            return f"no permission to {verb}: {text}; bind the Role tinyunet-launcher (k8s/base)"
        if error.status == _GONE_OR_ABSENT and "namespace" in text:
            return f"namespace {self.namespace!r} does not exist ({text}); create it or name another"
        if error.status == _GONE_OR_ABSENT or leaving:
            kind = f"{GROUP}/{VERSION}"
            return f"the cluster knows no MPIJob of {kind} ({text}); install the MPI Operator: {_INSTALL}"
        return f"the cluster refuses the MPIJob ({error.status}): {text}"


class _Refused(Exception):  # noqa: N818
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def _belongs(about: str, job: str) -> bool:
    return about == job or about.startswith((f"{job}-launcher", f"{job}-worker-"))


def _network_errors() -> tuple[type[Exception], ...]:
    from urllib3.exceptions import HTTPError

    return (HTTPError, OSError, json.JSONDecodeError)


def _server_message(body: str | bytes | None) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    with contextlib.suppress(json.JSONDecodeError, AttributeError):
        text = str(json.loads(text).get("message") or text)
    return " ".join(text.split())[:600]


def _sortable(stamp: str) -> str:
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"


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
