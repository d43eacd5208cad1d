"""The typed and checked specification of a distributed run, and the MPIJob manifest built from it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from tinyunet.core.errors import UserError, require
from tinyunet.mpijob import resources, scripts
from tinyunet.mpijob.certificates import with_certificates

Json = dict[str, Any]

GROUP, VERSION = "kubeflow.org", "v2beta1"
RUN_LABEL = "tinyunet/run"
DIGEST_ANNOTATION = "tinyunet/spec-digest"
QUEUE_LABEL, PRIORITY_LABEL = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
HOME = "/home/mpiuser"  # home of the images' user; the operator mounts the SSH key below it
USER_ID = 1000
SSH_PORT = 2222  # an unprivileged sshd cannot bind port 22
START_SECONDS = 3600  # a worker waits at most this long for the others, beside the launcher's deadline

_MPIRUN = (
    *("mpirun", "--bind-to", "none", "--map-by", "slot", "-wdir", "/tmp"),  # noqa: S108  the only writable folder
    # TCP between pods; openib only prints warnings on nodes without InfiniBand
    *("--mca", "pml", "ob1", "--mca", "btl", "^openib"),
    *("--mca", "oob_tcp_keepalive_time", "20"),  # a lost node is detected within a minute
    *("--mca", "oob_tcp_keepalive_intvl", "5", "--mca", "oob_tcp_keepalive_probes", "4"),
)
_POD_SECURITY: Json = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# Ranks write below /tmp only. `mpirun -x NAME` contains only the name of a variable, no value.
_DEFAULT_ENV = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108


@dataclass(frozen=True, kw_only=True)
class WorkerPods:
    """Settings of the worker pods: the fields of KFP's `dsl.TaskConfig`, as Kubernetes JSON.

    Attributes:
        resources: `{"limits": …, "requests": …}`; a value replaces the default for CPU or memory.
        env: Environment variables of every rank, with `value` or `valueFrom`; the launcher has them too.
        tolerations: Tolerations for tainted nodes, such as GPU nodes.
        node_selector: Labels that a node must have.
        affinity: Pod or node affinity.
        volumes: Volumes of the worker pods.
        volume_mounts: Mount points of the volumes in the workers' container.
    """

    resources: Mapping[str, Any] = field(default_factory=dict)
    env: Sequence[Mapping[str, Any]] = ()
    tolerations: Sequence[Mapping[str, Any]] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: Mapping[str, Any] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    volume_mounts: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def from_task_config(cls, task_config: object | None) -> "WorkerPods":
        """Return the settings of a KFP task.

        Args:
            task_config: A `dsl.TaskConfig`, whose unset fields are None; None gives the default settings.
        """
        values = {one.name: getattr(task_config, one.name, None) for one in fields(cls)}
        return cls(**{name: value for name, value in values.items() if value})


@dataclass(frozen=True, kw_only=True)
class MPIJobSpec:
    """One MPIJob, and the time limits for it.

    Attributes:
        name: Name of the job, a DNS-1035 label; `job_name` returns a valid name for a run key.
        image: Container image of launcher and workers (sshd, Open MPI, tinyunet).
        pull_secrets: Names of the Secrets with which the nodes pull the image from a private registry.
        command: Command of every rank; `build` puts `mpirun` and its options before it.
        run_key: Key of the run that this job belongs to; a retry of the run finds the job by this key.
        namespace: Kubernetes namespace; an empty string selects the caller's own namespace.
        workers: Number of worker pods.
        slots_per_worker: Ranks in each worker pod (GPUs per node).
        pods: Settings of the worker pods.
        queue: Kueue LocalQueue that admits the job; an empty string means no queue.
        priority: Kueue WorkloadPriorityClass of the job in its queue; an empty string means priority 0.
        deadline_seconds: Longest duration of the launcher, after which the cluster ends the job. The wait in
            a queue does not count, and the time starts again after a preemption.
        pending_seconds: Longest wait while a pod cannot be created or scheduled, or its image not be pulled.
        restarts: Number of restarts after the cluster removed a pod or killed the launcher. No other failure
            causes a restart.
        shm: Size of the memory-backed /dev/shm of a worker; empty is 1Gi, on GPUs for each of them.
    """

    name: str
    image: str
    pull_secrets: Sequence[str] = ()
    command: Sequence[str]
    run_key: str = ""
    namespace: str = ""
    workers: int = 2
    slots_per_worker: int = 1
    pods: WorkerPods = field(default_factory=WorkerPods)
    queue: str = ""
    priority: str = ""
    deadline_seconds: int = 86_400
    pending_seconds: int = 900
    restarts: int = 3
    shm: str = ""

    def __post_init__(self) -> None:
        for name in ("workers", "slots_per_worker", "deadline_seconds", "pending_seconds"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.restarts >= 0, "restarts", self.restarts, "at least 0")
        require(bool(self.image), "image", self.image, "a container image")
        require(bool(self.command), "command", self.command, "the program that every rank runs")
        last = f"{self.name}-worker-{self.workers - 1}"
        if len(last) > 63 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", self.name):
            raise UserError(
                f"MPIJob name {self.name!r}; expected lower-case letters, digits, '-', a letter first, and "
                f"{last!r} at most 63 characters; use another run key"
            )


def job_name(run_key: str) -> str:
    """Return the job name of a run key: a deterministic DNS label, short enough for 1,000 workers."""
    slug = re.sub(r"[^a-z0-9]+", "-", run_key.lower()).strip("-")
    if slug != run_key or len(slug) > 40:
        slug = f"{slug[:24].rstrip('-')}-{hashlib.sha256(run_key.encode()).hexdigest()[:10]}".lstrip("-")
    return f"tinyunet-{slug}"


def build(spec: MPIJobSpec) -> Json:
    """Return the MPIJob as Kubernetes JSON; an annotation contains the digest of its `spec`.

    Two jobs with the same digest do the same work. So a retry adopts an existing job with the same digest.
    """
    body: Json = {
        "slotsPerWorker": spec.slots_per_worker,
        "launcherCreationPolicy": "WaitForWorkersReady",
        "sshAuthMountPath": f"{HOME}/.ssh",
        "runPolicy": {
            "cleanPodPolicy": "Running",
            "backoffLimit": 0,
            "activeDeadlineSeconds": spec.deadline_seconds,
            **({"suspend": True} if spec.queue else {}),
        },
        "mpiReplicaSpecs": {
            "Launcher": {"replicas": 1, "restartPolicy": "Never", "template": _launcher(spec)},
            "Worker": {"replicas": spec.workers, "restartPolicy": "Never", "template": _worker(spec)},
        },
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    # On its pods, the name of the queue would make Kueue admit each of them by itself.
    queue = {QUEUE_LABEL: spec.queue, PRIORITY_LABEL: spec.priority} if spec.queue else {}
    labels = _labels(spec) | {name: value for name, value in queue.items() if value}
    metadata: Json = {"name": spec.name, "labels": labels, "annotations": {DIGEST_ANNOTATION: digest}}
    if spec.namespace:
        metadata["namespace"] = spec.namespace
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "MPIJob", "metadata": metadata, "spec": body}


def _labels(spec: MPIJobSpec) -> Json:
    labels = {"app.kubernetes.io/name": "tinyunet", "app.kubernetes.io/component": "training"}
    return labels | ({RUN_LABEL: job_name(spec.run_key)} if spec.run_key else {})


def _environment(spec: MPIJobSpec) -> list[Json]:
    values = _DEFAULT_ENV | resources.environment(spec.pods.resources)
    defaults = {name: {"name": name, "value": value} for name, value in values.items()}
    return list((defaults | {str(entry["name"]): dict(entry) for entry in spec.pods.env}).values())


def _launcher(spec: MPIJobSpec) -> Json:
    exported = [word for entry in _environment(spec) for word in ("-x", entry["name"])]
    ranks = spec.workers * spec.slots_per_worker
    # The MPI Operator starts the launcher of a job that a queue admits together with the workers.
    wait = ["/bin/sh", "-c", scripts.WAIT_FOR_WORKERS, "mpirun"] if spec.queue else []
    container = {
        "name": "launcher",
        "command": [*wait, *_MPIRUN, "-np", str(ranks), *exported, *spec.command],
        "lifecycle": scripts.before_the_end(scripts.STOP_LAUNCHER),
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    return with_certificates(_template(spec, container, [{"name": "tmp", "emptyDir": {}}]))


def _worker(spec: MPIJobSpec) -> Json:
    pods = spec.pods
    shm = spec.shm or resources.shared_memory(spec.slots_per_worker, pods.resources)
    container = {
        "name": "worker",
        "command": ["/bin/sh", "-c", scripts.SSHD],
        "lifecycle": scripts.before_the_end(scripts.STOP_WORKER),
        "ports": [{"name": "ssh", "containerPort": SSH_PORT}],
        "readinessProbe": {"tcpSocket": {"port": SSH_PORT}, "initialDelaySeconds": 1, "periodSeconds": 1},
        "resources": resources.with_defaults(pods.resources),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            *map(dict, pods.volume_mounts),
        ],
    }
    volumes: list[Json] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shm}},
    ]
    template = with_certificates(_template(spec, container, [*volumes, *map(dict, pods.volumes)]))
    extra = {
        # The launcher's deadline ends the workers, too; this one also holds if the launcher never existed.
        "activeDeadlineSeconds": spec.deadline_seconds + START_SECONDS,
        "tolerations": [dict(one) for one in pods.tolerations],
        "nodeSelector": dict(pods.node_selector),
        "affinity": dict(pods.affinity),
    }
    template["spec"].update({key: value for key, value in extra.items() if value})
    return template


def _template(spec: MPIJobSpec, container: Json, volumes: list[Json]) -> Json:
    common = {
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "env": _environment(spec),
        "securityContext": dict(_CONTAINER_SECURITY),
    }
    secrets = [{"name": name} for name in spec.pull_secrets]
    return {
        "metadata": {"labels": {**_labels(spec), "sidecar.istio.io/inject": "false"}},  # sidecars break SSH
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": scripts.GRACE_SECONDS,
            "securityContext": dict(_POD_SECURITY),
            "containers": [common | container],
            "volumes": volumes,
            **({"imagePullSecrets": secrets} if secrets else {}),
        },
    }
