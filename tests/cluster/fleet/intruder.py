"""Try, in a pod of one team, to reach what another team has; print the outcome of every attempt as JSON.

Environment: the login and the key of the own team, and OTHER, a JSON object with the ids of the other team.
An outcome is `refused`, or what the attempt gave.
"""

import json
import os
from collections.abc import Callable, Iterator

import boto3
import requests
from botocore.exceptions import ClientError
from kubernetes import client, config

OTHER = json.loads(os.environ["OTHER"])
MLFLOW = os.environ["MLFLOW_TRACKING_URI"]
LOGIN = (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
HIDDEN = tuple(OTHER[key] for key in ("run", "model", "secret"))
Attempt = tuple[str, Callable[[], object]]


def s3_attempts() -> Iterator[Attempt]:
    """Attempts with the key of the own team, at the bucket of the other one and at that of MLflow."""
    s3 = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"])
    for bucket, key in ((OTHER["name"], "secret.txt"), ("mlflow", OTHER["artifact"])):
        yield f"list {bucket}", lambda bucket=bucket: s3.list_objects_v2(Bucket=bucket)
        yield f"get {bucket}", lambda bucket=bucket, key=key: s3.get_object(Bucket=bucket, Key=key)
        yield f"put {bucket}", lambda bucket=bucket: s3.put_object(Bucket=bucket, Key="new", Body=b"new")
        yield f"delete {bucket}", lambda bucket=bucket, key=key: s3.delete_object(Bucket=bucket, Key=key)


def mlflow_attempts() -> Iterator[Attempt]:
    """Requests to MLflow in the own, the other, the default and no workspace."""
    run, experiment, model = OTHER["run"], OTHER["experiment"], OTHER["model"]
    named, inside = (
        f"name={OTHER['registered']}",
        OTHER["artifact"].removeprefix(f"workspaces/{OTHER['name']}/"),
    )
    served = f"api/2.0/mlflow-artifacts/artifacts/{OTHER['artifact']}"
    graphql = f'query{{mlflowGetRun(input:{{runId:"{run}"}}){{run{{info{{runId}}}}}}}}'
    always = [
        ("GET", f"api/2.0/mlflow/runs/get?run_id={run}", None),
        ("GET", f"ajax-api/2.0/mlflow/runs/get?run_id={run}", None),
        ("POST", "api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]}),
        ("POST", "api/2.0/mlflow/experiments/search", {"max_results": 100}),
        ("GET", f"api/2.0/mlflow/artifacts/list?run_id={run}", None),
        ("GET", f"get-artifact?run_id={run}&path=secret.txt", None),
        ("GET", served, None),
        ("GET", f"api/2.0/mlflow-artifacts/artifacts/{inside}", None),
        ("GET", f"api/2.0/mlflow-artifacts/presigned/{OTHER['artifact']}", None),
        ("PUT", served, "replaced"),
        ("GET", f"api/2.0/mlflow/logged-models/{model}", None),
        ("GET", "api/2.0/mlflow/registered-models/search", None),
        ("GET", "api/2.0/mlflow/model-versions/search", None),
        ("POST", "graphql", {"query": graphql}),
        ("POST", "api/2.0/mlflow/runs/delete", {"run_id": run}),
        ("GET", "api/3.0/mlflow/roles/list?workspace=" + OTHER["name"], None),
        ("PATCH", "api/2.0/mlflow/users/update-admin", {"username": LOGIN[0], "is_admin": True}),
        ("POST", "api/2.0/mlflow/users/create", {"username": "third", "password": "a-long-password"}),
        ("PATCH", "api/2.0/mlflow/users/update-password", {"username": OTHER["name"], "password": "x" * 16}),
    ]
    foreign = [
        ("GET", f"api/2.0/mlflow/registered-models/get?{named}", None),
        ("GET", f"model-versions/get-artifact?{named}&version=1&path=secret.txt", None),
        (
            "POST", "api/2.0/mlflow/registered-models/alias",
            {"name": OTHER["registered"], "alias": "champion", "version": "1"},
        ),
    ]  # fmt: skip
    for workspace in dict.fromkeys((os.environ["MLFLOW_WORKSPACE"], OTHER["name"], "default", "")):
        requested = always if workspace == os.environ["MLFLOW_WORKSPACE"] else always + foreign
        for method, path, body in requested:
            yield f"{method} {path} in {workspace or 'none'}", request(method, path, body, workspace)
    own = os.environ["MLFLOW_WORKSPACE"]
    yield from sources(own)
    location = {"name": "elsewhere", "artifact_location": f"s3://mlflow/{OTHER['artifact']}"}
    yield "experiment elsewhere", request("POST", "api/2.0/mlflow/experiments/create", location, own)
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": os.environ["OWN"]}}
    info = {"trace_id": "tr-" + "1" * 32, "trace_location": place, "request_time": "2026-01-01T00:00:00Z"}
    info |= {"state": "OK", "tags": {"mlflow.artifactLocation": f"s3://mlflow/{OTHER['artifact']}"}}
    yield "trace", request("POST", "api/3.0/mlflow/traces", {"trace": {"trace_info": info}}, own)


def sources(own: str) -> Iterator[Attempt]:
    """Versions of an own model whose source is that of the other team: MLflow would read it with its key."""
    folder = OTHER["artifact"].rpartition("/")[0]
    for source in (f"s3://mlflow/{folder}", f"mlflow-artifacts:/{folder}", f"models:/{OTHER['model']}"):
        body = {"name": OTHER["registered"], "source": source}
        yield f"source {source}", request("POST", "api/2.0/mlflow/model-versions/create", body, own)


def request(method: str, path: str, body: object, workspace: str) -> Callable[[], object]:
    """Return an attempt that gives a text, if the answer is not an error."""

    def attempt() -> object:
        answer = requests.request(
            method, f"{MLFLOW}/{path}", auth=LOGIN, timeout=60, allow_redirects=False,
            headers={"X-MLFLOW-WORKSPACE": workspace} if workspace else {},
            **{"data" if isinstance(body, str) else "json": body},
        )  # fmt: skip
        if answer.status_code in (400, 401, 403, 404):
            raise PermissionError
        answer.raise_for_status()
        harmless = ("search", "graphql")  # these answer with an empty result
        if path.endswith(harmless) and not any(text in answer.text for text in HIDDEN):
            raise PermissionError
        return answer.text[:200]

    return attempt


def kubernetes_attempts() -> Iterator[Attempt]:
    """Requests to the Kubernetes API with the account of this pod."""
    config.load_incluster_config()
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    for namespace, secret in ((OTHER["namespace"], "tinyunet-mlflow"), ("tinyunet", "tinyunet-mlflow-admin")):
        yield f"secrets of {namespace}", lambda n=namespace: core.list_namespaced_secret(n)
        yield f"secret of {namespace}", lambda n=namespace, s=secret: core.read_namespaced_secret(s, n)
        yield f"settings of {namespace}", lambda n=namespace: core.list_namespaced_config_map(n)
        yield f"pods of {namespace}", lambda n=namespace: core.list_namespaced_pod(n)
        yield f"log in {namespace}", lambda n=namespace: core.read_namespaced_pod_log("any", n)
    yield "deployment", lambda: apps.patch_namespaced_deployment("mlflow", "tinyunet", {})
    yield "all secrets", core.list_secret_for_all_namespaces


def outcome(attempt: Callable[[], object]) -> str:
    """Return `refused`, or what an attempt gave."""
    try:
        return str(attempt())[:200]
    except PermissionError:
        return "refused"
    except requests.HTTPError as error:
        return f"error {error.response.status_code}"
    except (ClientError, client.ApiException) as error:
        code = error.status if isinstance(error, client.ApiException) else error.response["Error"]["Code"]
        return "refused" if code in (403, "AccessDenied") else f"error {code}"


if __name__ == "__main__":
    attempts = [*s3_attempts(), *mlflow_attempts(), *kubernetes_attempts()]
    print(json.dumps({label: outcome(attempt) for label, attempt in attempts}))
