"""Registered models of engines, and the servers of `make deploy SERVE=NAME` in the cluster."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from cluster import Cluster
from deployment import NAMESPACE, forwarded
from objects import list_objects

from tests.engines import bright_spot_network, write_engine
from tinyunet.tracking.names import ENGINE_FOLDER

KINDS = "deployment,service,hpa,pdb,networkpolicy,serviceaccount,job,configmap"


@contextmanager
def registry(cluster: Cluster) -> Iterator[mlflow.MlflowClient]:
    """Yield a client of the cluster's MLflow."""
    with forwarded(cluster, "mlflow", 5000) as port:
        yield mlflow.MlflowClient(f"http://localhost:{port}")


def create_version(
    client: mlflow.MlflowClient, name: str, folder: Path, *, offset: float = -40.0, **tags: str
) -> str:
    """Create a version of a registered model, whose engine is written into a folder; return its number."""
    write_engine(folder / ENGINE_FOLDER, bright_spot_network(offset=offset))
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    model = client.create_logged_model(experiment_id, name="model")
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    source = f"models:/{model.model_id}"
    return str(client.create_model_version(name, source, model_id=model.model_id, tags=tags).version)


def servers(cluster: Cluster, name: str) -> dict[str, str]:
    """Return name and address of the servers of a model that are ready and are not stopping."""
    return {
        pod["metadata"]["name"]: pod["status"]["podIP"]
        for pod in list_objects(cluster, "pods", NAMESPACE)
        if pod["metadata"]["labels"].get("tinyunet/served") == name
        and pod["metadata"]["labels"].get("app.kubernetes.io/name") == "serving"
        and "deletionTimestamp" not in pod["metadata"]
        and any(
            one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ())
        )
    }


def restarts(cluster: Cluster, name: str) -> int:
    """Return how often the container of a pod was restarted."""
    pod = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "pod", name, "-o", "json"))
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def stop_serving(cluster: Cluster, name: str) -> None:
    """Delete the servers of a model."""
    cluster.kubectl("-n", NAMESPACE, "delete", KINDS, "-l", f"tinyunet/served={name}")
