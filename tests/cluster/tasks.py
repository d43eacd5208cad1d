"""Pods with this Python environment, among them those like the pods of the pipeline's train task."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from cluster import Cluster
from deployment import NAMESPACE
from images import RANKS
from machine import ENVIRONMENT, PYTHON, REPOSITORY
from objects import list_objects, wait_until

from tinyunet.mpijob.spec import WorkerPods

# Of the tasks in `pipeline.resources`, with the objects that have their values. That module is not imported,
# because it imports Kubernetes' client, which reads KUBECONFIG at once, before there is a cluster.
LOGIN_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_WORKSPACE")
VARIABLES = (
    ("configMapKeyRef", "tinyunet", ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION")),
    ("secretKeyRef", "tinyunet-s3", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
    ("secretKeyRef", "tinyunet-mlflow", LOGIN_KEYS),
)
TRAIN = """
import json, sys, types
from tinyunet.core.presets import FAST
from tinyunet.launch import following
from tinyunet.launch.launch import launch, pipeline_run
following.SHORTEST_LEASE_S = 1  # a user's lease is longer than this test
location, run_id, settings, workers, ranks = sys.argv[1:]
config = FAST.replace(json.loads(settings))
run = pipeline_run(location + "/records", location + "/" + run_id, config, run_id, "", int(ranks))
print("the task begins", flush=True)
launch(run, slots_per_worker=1, launcher="mpijob", task_config=types.SimpleNamespace(**json.loads(workers)))
"""
# The first process of Argo's container forwards SIGTERM and ends at its next look, at most about a second
# later. With it, the kernel ends all other processes of the container.
ARGO = """\
trap 'kill -TERM $child; sleep $DELAY; exit 143' TERM
"$@" & child=$!
wait $child
"""


def mounted_environment(cluster: Cluster, namespace: str, *writable: Path) -> WorkerPods:
    """Return worker pods with this Python environment, mounted read-only at its paths, and writable folders.

    Pod Security `restricted` forbids hostPath volumes in pods. Each folder is therefore a cluster volume with
    a claim.
    """
    volumes: list[dict] = []
    mounts: list[dict] = []
    for number, path in enumerate((PYTHON, ENVIRONMENT, REPOSITORY / "components", *writable)):
        name = f"{namespace}-{number}"
        cluster.apply(*_volume_and_claim(name, namespace, path))
        claim = {"claimName": name, "readOnly": path not in writable}
        volumes.append({"name": f"host-{number}", "persistentVolumeClaim": claim})
        mounts.append({"name": f"host-{number}", "mountPath": str(path), "readOnly": path not in writable})
    bound = ("wait", "--for=jsonpath={.status.phase}=Bound", "pvc", "--all", "--timeout=60s")
    cluster.kubectl("-n", namespace, *bound)
    return WorkerPods(volumes=volumes, volume_mounts=mounts)


def _volume_and_claim(name: str, namespace: str, path: Path) -> tuple[dict, dict]:
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    size, claim = {"storage": "1Gi"}, {"name": name, "namespace": namespace}
    volume = common | {"capacity": size, "hostPath": {"path": str(path)}, "claimRef": claim}
    request = common | {"volumeName": name, "resources": {"requests": size}}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": request},
    )


def worker_settings(cluster: Cluster, *writable: Path, namespace: str = NAMESPACE) -> SimpleNamespace:
    """Return this Python environment, writable folders, and the variables of the pipeline's tasks."""
    mounted = mounted_environment(cluster, namespace, *writable)
    references = [
        {"name": key, "valueFrom": {kind: {"name": name, "key": key, "optional": True}}}
        for kind, name, keys in VARIABLES
        for key in keys
    ]
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}
    return SimpleNamespace(
        env=references, resources=resources, volumes=mounted.volumes, volume_mounts=mounted.volume_mounts
    )


def start_task(
    cluster: Cluster, name: str, location: str, settings: dict, workers: SimpleNamespace, **variables: str
) -> None:
    """Start a pod like that of the train task, and wait until its container runs.

    Args:
        cluster: With the services.
        name: Of the pod and of the run; the model is LOCATION/NAME.
        location: Prefix on S3 that contains `records`.
        settings: Changes of the preset.
        workers: Settings of the worker pods.
        variables: Environment variables; DELAY is that of ARGO.
    """
    create_task(cluster, name, train_words(name, location, settings, workers), workers, **variables)
    wait_until("the task runs", lambda: pods_of(cluster, name, "task") == {name: "Running"})


def train_words(
    name: str, location: str, settings: dict, workers: SimpleNamespace, *, ranks: int = 2
) -> list[str]:
    """Return the code of the train task with its arguments; each rank has a worker pod of its own."""
    return [TRAIN, location, name, json.dumps(settings), json.dumps(vars(workers)), str(ranks)]


def create_task(
    cluster: Cluster, name: str, words: list[str], workers: SimpleNamespace, **variables: str
) -> None:
    """Create a pod that runs Python code with its arguments, as Argo starts the container of a task."""
    fields = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid"}
    values = {"DELAY": "0", "TINYUNET_IMAGE": RANKS} | variables
    env = [{"name": key, "value": value} for key, value in values.items()]
    env += [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()]
    main = {
        "name": "main", "image": RANKS,
        "command": ["/bin/sh", "-c", ARGO, "argo", f"{ENVIRONMENT}/bin/python", "-c", *words],
        "env": [*env, *workers.env],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": list(workers.volume_mounts),
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
    }  # fmt: skip
    secure = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"serviceAccountName": "tinyunet-launcher", "restartPolicy": "Never", "securityContext": secure}
    spec |= {"containers": [main], "volumes": list(workers.volumes)}
    labels = {"app.kubernetes.io/component": "launcher"}
    meta = {"name": name, "namespace": NAMESPACE, "labels": labels}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


def pods_of(cluster: Cluster, name: str, role: str = "") -> dict[str, str]:
    """Return the pods that have not ended, with their phases: of the job, or with `task` that of the task."""
    wanted: Callable[[str], bool] = (lambda pod: pod == name) if role else (
        lambda pod: pod.startswith(f"tinyunet-{name}-")
    )  # fmt: skip
    pods = {p["metadata"]["name"]: p["status"]["phase"] for p in list_objects(cluster, "pods", NAMESPACE)}
    return {p: phase for p, phase in pods.items() if wanted(p) and phase in ("Pending", "Running")}


def python_pod(
    cluster: Cluster,
    namespace: str,
    name: str,
    code: str,
    *,
    account: str = "default",
    seconds: float = 90,
    **container: object,
) -> str:
    """Run code to its end in a pod with this Python environment, and return its log."""
    mounted = mounted_environment(cluster, namespace)
    main = {
        "name": "main", "image": RANKS, "command": [f"{ENVIRONMENT}/bin/python", "-c", code],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": list(mounted.volume_mounts),
    }  # fmt: skip
    secure = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"serviceAccountName": account, "restartPolicy": "Never", "securityContext": secure}
    spec |= {"containers": [main | container], "volumes": list(mounted.volumes)}
    meta = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/component": "launcher"}}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

    def phase() -> str:
        pod = json.loads(cluster.kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
        return str(pod["status"]["phase"])

    wait_until(f"{name} ends", lambda: phase() in ("Succeeded", "Failed"), seconds)
    log = cluster.kubectl("-n", namespace, "logs", name)
    cluster.kubectl("-n", namespace, "delete", "pod", name)
    return log
