"""Deploying on a real cluster: overlays are accepted, the local one is healthy, its roles are as told."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from boot import Cluster
from conftest import ENVIRONMENT, K8S, NAMESPACE, deploy, forwarded, items, python_pod
from images import named
from machine import run

LAUNCHER = f"system:serviceaccount:{NAMESPACE}:tinyunet-launcher"


@pytest.fixture
def port(services: Cluster) -> Iterator[int]:
    """MLflow's server on a port of this machine."""
    with forwarded(services, "mlflow", 5000) as number:
        yield number


@pytest.mark.parametrize("overlay", ["local", "gpu", "production"])
def test_the_api_server_accepts_every_object_of_an_overlay(
    cluster: Cluster, namespace: str, overlay: str
) -> None:
    text = cluster.kubectl("kustomize", K8S / "overlays" / overlay)
    assert "kind: Secret" not in text
    elsewhere = text.replace(f"namespace: {NAMESPACE}\n", f"namespace: {namespace}\n")
    said = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=elsewhere)
    assert len(said.splitlines()) == text.count("\nkind: ") + text.startswith("kind: ")


def test_the_optional_components_fit_an_overlay(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Without Kueue's: its kinds are not in this cluster."""
    place = os.path.relpath(K8S, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{place}/overlays/local]\n"
        f"components: [{place}/components/istio, {place}/components/prometheus]\n"
    )
    text = cluster.kubectl("kustomize", tmp_path)
    assert text.count('sidecar.istio.io/inject: "false"') == 4  # MinIO, its buckets, PostgreSQL, MLflow
    assert 'prometheus.io/scrape: "true"' in text
    elsewhere = text.replace(f"namespace: {NAMESPACE}\n", f"namespace: {namespace}\n")
    said = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=elsewhere)
    assert "networkpolicy.networking.k8s.io/prometheus" in said


def test_production_asks_for_its_secrets(cluster: Cluster) -> None:
    """Before `services` makes them: no test of a file that comes earlier may use it."""
    done = deploy(cluster, "production")
    assert done.returncode == 2
    assert "secret tinyunet/tinyunet-s3 is missing; create it" in done.stderr


def test_deploying_twice_changes_nothing(services: Cluster) -> None:
    def state() -> set[tuple[str, str, str]]:
        kinds = "secrets,configmaps,services,statefulsets,deployments,jobs,roles,networkpolicies"
        metas = [one["metadata"] for one in items(services, kinds, NAMESPACE)]
        return {
            (one["uid"], one["name"], str(one.get("generation", one["resourceVersion"]))) for one in metas
        }

    before = state()
    done = deploy(services, "local")
    assert done.returncode == 0, done.stderr
    assert state() == before


def test_images_of_another_registry_and_tag_take_the_place_of_those_that_run(services: Cluster) -> None:
    """And back. The Job that makes the buckets is made anew: the pods of one cannot change."""

    def images() -> set[str]:
        specs = [
            one["spec"]["template"]["spec"]
            for one in items(services, "statefulsets,deployments,jobs", NAMESPACE)
        ]
        return {
            one["image"] for spec in specs for one in spec["containers"] if "postgres" not in one["image"]
        }

    before = images()
    other = {f"registry.example.org/tinyunet/{target}:next" for target in ("mlflow", "minio")}
    for target in ("mlflow", "minio"):
        services.ctr("image", "tag", named(target), f"registry.example.org/tinyunet/{target}:next")
    done = deploy(services, "local", REGISTRY="registry.example.org", TAG="next")
    assert done.returncode == 0, done.stderr
    assert images() == other
    done = deploy(services, "local")
    assert done.returncode == 0, done.stderr
    assert images() == before


def test_every_service_runs_and_none_restarted(services: Cluster) -> None:
    pods = [pod for pod in items(services, "pods", NAMESPACE) if pod["spec"]["restartPolicy"] == "Always"]
    restarts = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod["status"]["containerStatuses"][0][
            "restartCount"
        ]
        for pod in pods
    }
    assert restarts == {"minio": 0, "mlflow": 0, "postgres": 0}


def test_mlflow_answers_clients_and_keeps_their_artifacts_in_minio(port: int, services: Cluster) -> None:
    script = f"""
import mlflow
mlflow.set_tracking_uri("http://localhost:{port}")
with mlflow.start_run() as run:
    mlflow.log_text("kept", "note.txt")
print(mlflow.artifacts.load_text(run.info.artifact_uri + "/note.txt"))
"""
    outside = os.environ | {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}  # no way to MinIO from here
    said = run(ENVIRONMENT / "bin/python", "-c", script, env=outside, timeout=90)
    assert said.strip().endswith("kept")
    kept = services.kubectl("-n", NAMESPACE, "exec", "deployment/mlflow", "--", "python3", "-c",
        "import boto3, os; s3 = boto3.client('s3', endpoint_url=os.environ['MLFLOW_S3_ENDPOINT_URL']);"
        "print([one['Key'] for one in s3.list_objects_v2(Bucket='mlflow')['Contents']])")  # fmt: skip
    assert "note.txt" in kept


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
def test_the_launcher_may_do_what_it_does_and_no_more(
    services: Cluster, verb: str, resource: str, allowed: bool
) -> None:
    words = ("auth", "can-i", verb, resource, "-n", NAMESPACE, "--as", LAUNCHER)
    try:
        said = services.kubectl(*words)
    except RuntimeError as error:  # kubectl exits 1 after "no"
        said = str(error)
    assert said.strip().endswith("yes") is allowed


INSIDE = """
from tinyunet.mpijob.image import task_image
from tinyunet.mpijob.run import run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods, job_name
small = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
run_mpijob(MPIJobSpec(name=job_name("inside"), image=task_image(), command=("echo", "from inside"),
                      pods=WorkerPods(resources=small), shm="32Mi", restarts=0))
"""


@pytest.mark.parametrize(
    ("account", "word"), [("tinyunet-launcher", "succeeded"), ("default", "no permission to")]
)
def test_a_pod_launches_a_job_with_its_own_account_only(services: Cluster, account: str, word: str) -> None:
    mine = {"fieldRef": {"fieldPath": "metadata.name"}}, {"fieldRef": {"fieldPath": "metadata.uid"}}
    env = [
        {"name": one, "valueFrom": ref}
        for one, ref in zip(("KFP_POD_NAME", "KFP_POD_UID"), mine, strict=True)
    ]
    said = python_pod(services, NAMESPACE, f"inside-{account}", INSIDE, account=account, env=env)
    assert word in said
