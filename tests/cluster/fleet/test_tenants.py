"""Two teams on one cluster and one MLflow: each works, and a pod of one is refused what the other has."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import Cluster
from deployment import NAMESPACE, deploy, run_script
from images import RANKS, target_image
from machine import REPOSITORY
from objects import list_objects
from tasks import python_pod, worker_settings

STORE = f"http://minio.{NAMESPACE}.svc.cluster.local:9000"
TEAMS = ("blue", "green")
ACCOUNT = "default-editor"  # of the runs in a profile of Kubeflow
# A team's work: an object of its bucket, a run with a file, and a champion. Both teams use the same names.
WORK = """
import json, os
import boto3, mlflow

name = os.environ["MLFLOW_WORKSPACE"]
secret = f"only {name} may read this"
s3 = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"])
s3.put_object(Bucket=name, Key="secret.txt", Body=secret)
client = mlflow.MlflowClient()
mlflow.set_experiment("tinyunet")
with mlflow.start_run() as run:
    mlflow.log_text(secret, "secret.txt")
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/secret.txt") == secret
model = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id)
client.finalize_logged_model(model.model_id, "READY")
client.create_registered_model("tinyunet-part-7")
source = f"models:/{model.model_id}"
version = client.create_model_version("tinyunet-part-7", source, model_id=model.model_id).version
client.set_registered_model_alias("tinyunet-part-7", "champion", version)
assert [one.version for one in client.search_model_versions("name = 'tinyunet-part-7'")] == ["1"]
print(json.dumps({
    "name": name, "namespace": name.removeprefix("team-"), "run": run.info.run_id, "secret": secret,
    "experiment": run.info.experiment_id, "model": model.model_id, "registered": "tinyunet-part-7",
    "artifact": run.info.artifact_uri.split(":/", 1)[1] + "/secret.txt",
}))
"""
# The five steps, with the team's own bucket and workspace; an MPIJob in its namespace trains.
STEPS = """
import json, os, subprocess, sys, types
from pathlib import Path
import mlflow
from tinyunet.core.presets import FAST
from tinyunet.launch.launch import launch, pipeline_run
from tinyunet.storage import s3

def tinyunet(*words):
    subprocess.run([sys.executable, "-m", "tinyunet", *words], check=True)

os.chdir("/tmp")
bucket = "s3://" + os.environ["MLFLOW_WORKSPACE"]
tinyunet("ingest", "synthetic://?train=12&test=4&size=32", "--out", "raw")
tinyunet("convert", "raw", "--out", "records", "--set", "shards=1")
for path in Path("records").iterdir():
    s3.push(path, f"{bucket}/records/{path.name}")
settings = {"image_size": 32, "global_batch": 2, "steps": 2, "validate_every": 0, "precision": "float32"}
run = pipeline_run(f"{bucket}/records", f"{bucket}/model", FAST.replace(settings), "team", "", 2)
workers = types.SimpleNamespace(**json.loads(os.environ["WORKERS"]))
launch(run, slots_per_worker=1, launcher="mpijob", task_config=workers)
s3.fetch(f"{bucket}/model", Path("model"))
tinyunet("evaluate", "model", "records", "--out", "evaluation")
tinyunet("register", "model", "evaluation", "--name", "tinyunet-team")
client = mlflow.MlflowClient()
version = client.get_model_version_by_alias("tinyunet-team", "champion")
steps = [one.step for one in client.get_metric_history(version.run_id, "loss")]
print(json.dumps({"version": version.version, "run": version.run_id, "steps": steps}))
"""


def pod(
    cluster: Cluster, namespace: str, name: str, code: str, *, seconds: float = 90, **variables: str
) -> dict:
    """Run code in a pod with the account and the Secrets of a namespace; return its last line."""
    given = {"PYTHONPATH": str(REPOSITORY / "components"), "HOME": "/tmp"} | variables
    references = [
        {"configMapRef": {"name": "tinyunet"}},
        *({"secretRef": {"name": one}} for one in ("tinyunet-s3", "tinyunet-mlflow")),
    ]
    env = [{"name": key, "value": value} for key, value in given.items()]
    options = {"env": env, "envFrom": references}
    log = python_pod(cluster, namespace, name, code, account=ACCOUNT, seconds=seconds, **options)
    assert log.rstrip().endswith("}"), log
    return json.loads(log.splitlines()[-1])


@pytest.fixture(scope="module")
def teams(services: Cluster) -> Iterator[Cluster]:
    """The services with a login, and two connected namespaces; afterwards all of them are deleted."""
    services.load(target_image("serving"))
    result = deploy(services, "local", TENANTS="true")
    assert result.returncode == 0, result.stdout + result.stderr
    for team in TEAMS:
        meta = {"name": team, "labels": {"app.kubernetes.io/part-of": "kubeflow-profile"}}
        account = {"name": ACCOUNT, "namespace": team}
        services.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": meta},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        )
        connected = run_script(services, "connect.sh", team, STORE)
        assert connected.returncode == 0, connected.stdout + connected.stderr
    yield services
    services.kubectl("delete", "namespace", *TEAMS, NAMESPACE)


@pytest.fixture(scope="module")
def work(teams: Cluster) -> dict[str, dict]:
    """What each team has, after its work."""
    return {team: pod(teams, team, "work", WORK) for team in TEAMS}


def test_no_team_reaches_what_another_team_has(teams: Cluster, work: dict[str, dict]) -> None:
    """The same attempts give the files, if a team makes them at what it has itself."""
    code = (Path(__file__).parent / "intruder.py").read_text()
    blue, green = (work[team] for team in TEAMS)
    assert blue["registered"] == green["registered"]
    found = pod(teams, "blue", "intruder", code, OTHER=json.dumps(green), OWN=blue["experiment"])
    assert len(found) > 80
    assert {label: one for label, one in found.items() if one != "refused"} == {}
    own = pod(teams, "green", "owner", code, OTHER=json.dumps(green), OWN=green["experiment"])
    reached = {label.replace(green["name"], "TEAM") for label, one in own.items() if green["secret"] in one}
    assert any("mlflow-artifacts" in label for label in reached)
    given = {label for label, one in own.items() if one != "refused" and not one.startswith("error")}
    assert {f"list {green['name']}", f"get {green['name']}"} <= given
    assert "list mlflow" not in given


def test_both_teams_train_at_the_same_time_and_each_has_a_champion_of_its_own(teams: Cluster) -> None:
    def steps(team: str) -> dict:
        workers = json.dumps(vars(worker_settings(teams, namespace=team)))
        return pod(teams, team, "steps", STEPS, seconds=400, WORKERS=workers, TINYUNET_IMAGE=RANKS)

    with ThreadPoolExecutor() as executor:
        blue, green = executor.map(steps, TEAMS)
    assert blue["version"] == green["version"] == "1"
    assert blue["run"] != green["run"]
    assert blue["steps"] == green["steps"] != []
    for team in TEAMS:
        (job,) = list_objects(teams, "mpijobs", team)
        assert job["status"]["conditions"][-1]["type"] == "Succeeded"


def test_connecting_twice_changes_nothing(teams: Cluster) -> None:
    def state() -> set[tuple[str, str]]:
        kinds = "secrets,configmaps,networkpolicies,roles,rolebindings"
        parts = [("blue", kinds), (NAMESPACE, "secrets,jobs,configmaps,rolebindings")]
        metas = [one["metadata"] for name, kind in parts for one in list_objects(teams, kind, name)]
        return {(meta["uid"], meta["resourceVersion"]) for meta in metas}

    before = state()
    result = run_script(teams, "connect.sh", "blue", STORE)
    assert result.returncode == 0, result.stderr
    assert state() == before


def test_no_team_may_change_the_services_or_has_a_key_of_them(teams: Cluster) -> None:
    bindings = {one["metadata"]["name"] for one in list_objects(teams, "rolebindings", NAMESPACE)}
    assert not any(name.startswith("tinyunet-deployer-") for name in bindings)
    kept = [one["data"] for one in list_objects(teams, "secrets", NAMESPACE) if one["metadata"]["name"] in
            ("tinyunet-s3", "tinyunet-mlflow-admin", "tinyunet-postgres", "team-green")]  # fmt: skip
    (values,) = [{value for data in kept for value in data.values()}]
    given = {value for one in list_objects(teams, "secrets", "blue") for value in one["data"].values()}
    assert len(kept) == 4
    assert not values & given


def test_a_second_deployment_keeps_the_login(teams: Cluster) -> None:
    result = deploy(teams, "local")
    assert result.returncode == 0, result.stderr
    (mlflow,) = [
        one for one in list_objects(teams, "deployments", NAMESPACE) if one["metadata"]["name"] == "mlflow"
    ]
    assert "--app-name=basic-auth" in mlflow["spec"]["template"]["spec"]["containers"][0]["args"]
    refused = deploy(teams, "local", SERVE="tinyunet-part-7")
    assert "with TENANTS a model belongs to a team" in refused.stderr
