"""SeaweedFS in place of MinIO on a real cluster: MLflow's artifacts, the buckets, and a restart."""

import os
from collections.abc import Iterator

import pytest
from cluster import Cluster
from deployment import NAMESPACE, deploy, forwarded
from images import deployment_images
from machine import ENVIRONMENT, run
from objects import list_objects

LIST = """
import boto3, os
s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
print(sorted(bucket["Name"] for bucket in s3.list_buckets()["Buckets"]))
print([item["Key"] for item in s3.list_objects_v2(Bucket="mlflow")["Contents"]])
"""


@pytest.fixture(scope="module")
def seaweedfs(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the local overlay and SeaweedFS; afterwards the namespace is deleted."""
    for archive in deployment_images("seaweedfs", "weed"):
        cluster.load(archive)
    result = deploy(cluster, "local", STORE_KIND="seaweedfs")
    state = cluster.kubectl("-n", NAMESPACE, "get", "pods,events")
    assert result.returncode == 0, result.stdout + result.stderr + state
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE)


def log_and_load(cluster: Cluster, name: str) -> str:
    """Store an artifact through the MLflow server, and return its content as MLflow loads it."""
    with forwarded(cluster, "mlflow", 5000) as port:
        script = f"""
import mlflow
mlflow.set_tracking_uri("http://localhost:{port}")
with mlflow.start_run() as run:
    mlflow.log_text("stored", "{name}")
print(mlflow.artifacts.load_text(run.info.artifact_uri + "/{name}"))
"""
        environment = os.environ | {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}
        return run(ENVIRONMENT / "bin/python", "-c", script, env=environment, timeout=90).splitlines()[-1]


def test_mlflow_keeps_its_artifacts_in_seaweedfs_over_a_restart(seaweedfs: Cluster) -> None:
    assert log_and_load(seaweedfs, "before.txt") == "stored"
    in_mlflow = ("-n", NAMESPACE, "exec", "deployment/mlflow", "--", "python3", "-c", LIST)
    buckets, keys = seaweedfs.kubectl(*in_mlflow).splitlines()
    assert buckets == "['mlflow', 'mlpipeline', 'tinyunet']"
    assert "before.txt" in keys
    seaweedfs.kubectl("-n", NAMESPACE, "delete", "pod", "seaweedfs-0")
    rollout = ("rollout", "status", "statefulset/seaweedfs", "--timeout=120s")
    seaweedfs.kubectl("-n", NAMESPACE, *rollout)
    assert log_and_load(seaweedfs, "after.txt") == "stored"
    _, keys = seaweedfs.kubectl(*in_mlflow).splitlines()
    assert "before.txt" in keys
    assert "after.txt" in keys


def test_a_second_deployment_changes_nothing_and_no_pod_restarts(seaweedfs: Cluster) -> None:
    def state() -> dict[str, str]:
        kinds = "statefulsets,deployments,jobs,services,networkpolicies"
        metas = [item["metadata"] for item in list_objects(seaweedfs, kinds, NAMESPACE)]
        return {meta["uid"]: str(meta.get("generation", meta["resourceVersion"])) for meta in metas}

    before = state()
    assert deploy(seaweedfs, "local", STORE_KIND="seaweedfs").returncode == 0
    assert state() == before
    pods = list_objects(seaweedfs, "pods", NAMESPACE)
    statuses = [
        pod["status"]["containerStatuses"][0] for pod in pods if pod["spec"]["restartPolicy"] == "Always"
    ]
    assert {(status["name"], status["restartCount"]) for status in statuses} == {
        ("seaweedfs", 0), ("mlflow", 0), ("postgres", 0),
    }  # fmt: skip
