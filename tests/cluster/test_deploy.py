"""Deployment on a real cluster: overlays are accepted, the local services are healthy, and roles fit."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from deployment import K8S, NAMESPACE, deploy, forwarded, run_script
from images import RANKS, named
from machine import ENVIRONMENT, run
from objects import list_objects
from tasks import python_pod

LAUNCHER = f"system:serviceaccount:{NAMESPACE}:tinyunet-launcher"


@pytest.fixture
def port(services: Cluster) -> Iterator[int]:
    """A port of this machine that is forwarded to MLflow's server."""
    with forwarded(services, "mlflow", 5000) as number:
        yield number


@pytest.mark.parametrize(
    ("overlay", "store"),
    [("local", "minio"), ("gpu", "minio"), ("production", "minio"), ("local", "seaweedfs")],
)
def test_the_api_server_accepts_every_object_of_an_overlay(
    cluster: Cluster, namespace: str, overlay: str, store: str
) -> None:
    text = run_script(cluster, "deploy.sh", overlay, "--print", STORE_KIND=store).stdout
    assert "kind: Secret" not in text
    manifests = text.replace(f"namespace: {NAMESPACE}\n", f"namespace: {namespace}\n")
    output = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifests)
    assert len(output.splitlines()) == text.count("\nkind: ") + text.startswith("kind: ")


def test_the_optional_components_can_be_added_to_an_overlay(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """The component for Kueue is left out, because this cluster does not have its kinds."""
    base = os.path.relpath(K8S, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{base}/overlays/local]\n"
        f"components: [{base}/components/istio, {base}/components/prometheus]\n"
    )
    text = cluster.kubectl("kustomize", tmp_path)
    assert text.count('sidecar.istio.io/inject: "false"') == 4  # MinIO, its buckets, PostgreSQL, MLflow
    assert 'prometheus.io/scrape: "true"' in text
    manifests = text.replace(f"namespace: {NAMESPACE}\n", f"namespace: {namespace}\n")
    output = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifests)
    assert "networkpolicy.networking.k8s.io/prometheus" in output


def test_production_names_its_missing_secrets(cluster: Cluster) -> None:
    """The fixture `services` creates the secrets, so that no earlier test may use it."""
    result = deploy(cluster, "production")
    assert result.returncode == 2
    assert "secret tinyunet/tinyunet-s3 is missing; create it" in result.stderr


def test_deploying_twice_changes_nothing(services: Cluster) -> None:
    def state() -> set[tuple[str, str, str]]:
        kinds = "secrets,configmaps,services,statefulsets,deployments,jobs,roles,networkpolicies"
        metas = [item["metadata"] for item in list_objects(services, kinds, NAMESPACE)]
        return {
            (meta["uid"], meta["name"], str(meta.get("generation", meta["resourceVersion"])))
            for meta in metas
        }

    before = state()
    result = deploy(services, "local")
    assert result.returncode == 0, result.stderr
    assert state() == before


def test_images_of_another_registry_and_tag_replace_the_running_ones(services: Cluster) -> None:
    """A second deployment restores them. The Job that creates the buckets is immutable and is replaced."""

    def images() -> set[str]:
        workloads = list_objects(services, "statefulsets,deployments,jobs", NAMESPACE)
        specs = [workload["spec"]["template"]["spec"] for workload in workloads]
        names = {container["image"] for spec in specs for container in spec["containers"]}
        return {name for name in names if "postgres" not in name}

    before = images()
    other = {f"registry.example.org/tinyunet/{target}:next" for target in ("mlflow", "minio")}
    for target in ("mlflow", "minio"):
        services.ctr("image", "tag", named(target), f"registry.example.org/tinyunet/{target}:next")
    result = deploy(services, "local", REGISTRY="registry.example.org", TAG="next")
    assert result.returncode == 0, result.stderr
    assert images() == other
    result = deploy(services, "local")
    assert result.returncode == 0, result.stderr
    assert images() == before


def test_every_service_runs_without_restarts(services: Cluster) -> None:
    pods = list_objects(services, "pods", NAMESPACE)
    restarts = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod["status"]["containerStatuses"][0][
            "restartCount"
        ]
        for pod in pods
        if pod["spec"]["restartPolicy"] == "Always"
    }
    assert restarts == {"minio": 0, "mlflow": 0, "postgres": 0}


def test_mlflow_stores_the_artifacts_of_clients_in_minio(port: int, services: Cluster) -> None:
    script = f"""
import mlflow
mlflow.set_tracking_uri("http://localhost:{port}")
with mlflow.start_run() as run:
    mlflow.log_text("stored", "note.txt")
print(mlflow.artifacts.load_text(run.info.artifact_uri + "/note.txt"))
"""
    # This machine reaches MinIO only through the MLflow server.
    environment = os.environ | {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}
    output = run(ENVIRONMENT / "bin/python", "-c", script, env=environment, timeout=90)
    assert output.strip().endswith("stored")
    keys = services.kubectl("-n", NAMESPACE, "exec", "deployment/mlflow", "--", "python3", "-c",
        "import boto3, os; s3 = boto3.client('s3', endpoint_url=os.environ['MLFLOW_S3_ENDPOINT_URL']);"
        "print([item['Key'] for item in s3.list_objects_v2(Bucket='mlflow')['Contents']])")  # fmt: skip
    assert "note.txt" in keys


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("create", "mpijobs.kubeflow.org", True),
        ("get", "mpijobs.kubeflow.org", True),
        ("list", "mpijobs.kubeflow.org", True),
        ("watch", "mpijobs.kubeflow.org", True),
        ("patch", "mpijobs.kubeflow.org", True),
        ("delete", "mpijobs.kubeflow.org", True),
        ("list", "pods", True),
        ("get", "pods/log", True),
        ("list", "events", True),
        ("update", "mpijobs.kubeflow.org", False),
        ("create", "pods", False),
        ("delete", "pods", False),
        ("create", "pods/exec", False),
        ("get", "secrets", False),
        ("list", "secrets", False),
        ("get", "configmaps", False),
        ("create", "jobs.batch", False),
        ("list", "nodes", False),
    ],
)
def test_the_launcher_has_exactly_the_permissions_that_it_needs(
    services: Cluster, verb: str, resource: str, allowed: bool
) -> None:
    words = ("auth", "can-i", verb, resource, "-n", NAMESPACE, "--as", LAUNCHER)
    try:
        answer = services.kubectl(*words)
    except RuntimeError as error:  # kubectl exits with 1 after "no"
        answer = str(error)
    assert answer.strip().endswith("yes") is allowed


INSIDE = """
from tinyunet.mpijob.image import task_image
from tinyunet.mpijob.run import run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods, job_name
small = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
image = task_image()
print("image", *image)
run_mpijob(MPIJobSpec(name=job_name("inside"), image=image.name, pull_secrets=image.pull_secrets,
                      command=("echo", "from inside"), pods=WorkerPods(resources=small), shm="32Mi",
                      restarts=0))
"""


@pytest.mark.parametrize(
    ("account", "word"), [("tinyunet-launcher", "succeeded"), ("default", "no permission to")]
)
def test_a_pod_can_launch_a_job_only_with_the_launchers_account(
    services: Cluster, account: str, word: str
) -> None:
    fields = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid"}
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    secrets = json.dumps({"imagePullSecrets": [{"name": "registry-key"}]})  # its absence is only a warning
    services.kubectl("-n", NAMESPACE, "patch", "serviceaccount", account, "-p", secrets)
    log = python_pod(services, NAMESPACE, f"inside-{account}", INSIDE, account=account, env=env)
    assert word in log
    assert (f"image {RANKS} ('registry-key',)" in log) is (word == "succeeded")
