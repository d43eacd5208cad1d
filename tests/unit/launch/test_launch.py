"""The choice of the launcher, and what each launcher passes to the ranks; no rank starts here."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST
from tinyunet.launch import launch as module
from tinyunet.launch.launch import launch, launch_local, mounted_path, pipeline_run
from tinyunet.launch.local_checkpoints import checkpoint_folder
from tinyunet.launch.local_ranks import TrainingFailed
from tinyunet.mpijob.spec import MPIJobSpec
from tinyunet.training.model_folder import read_model
from tinyunet.training.run import TrainingRun

S3 = {"S3_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Record the commands of local ranks, in an empty working folder, instead of running them."""
    recorded: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "run_ranks", recorded.append)
    return recorded


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, model: Path) -> list[MPIJobSpec]:
    """Record the MPIJobs instead of running them; `model` is what they have trained."""
    recorded: list[MPIJobSpec] = []
    monkeypatch.setattr("tinyunet.mpijob.run.run_mpijob", recorded.append)
    monkeypatch.setattr("tinyunet.mpijob.image.job_image_digest", lambda name: "")
    monkeypatch.setattr(module, "check_services", lambda _: None)
    monkeypatch.setattr(module, "following", lambda _: nullcontext())
    monkeypatch.setattr("tinyunet.storage.s3.exists", lambda uri: uri == "s3://bucket/records/manifest.json")
    monkeypatch.setattr(module, "finished_model", lambda _: read_model(model))
    for name, value in {**S3, "TINYUNET_IMAGE": "trainer", "MLFLOW_TRACKING_URI": "http://mlflow"}.items():
        monkeypatch.setenv(name, value)
    return recorded


def start(run: TrainingRun, launcher: str = "auto", slots_per_worker: int = 1) -> Any:
    return launch(run, slots_per_worker=slots_per_worker, launcher=launcher, task_config=None)


def test_the_run_key_of_a_pipeline_run_contains_the_category() -> None:
    run = pipeline_run("minio://b/records", "minio://b/model", FAST, "id", "3", 2)
    assert (run.run_key, run.category, run.ranks) == ("class3-id", "3", 2)
    run = pipeline_run("minio://b/records", "minio://b/model", FAST, "id", "", 2)
    assert run.run_key == "id"


def test_a_local_training_keeps_its_checkpoints_on_this_machine(
    records: Path, model: Path, commands: list[list[str]]
) -> None:
    run = pipeline_run(str(records), str(model), FAST, "id", "1", 1)
    document = read_model(model)
    assert start(run) == document
    (command,) = commands
    assert command[1:5] == ["-m", "tinyunet", "train", str(records)]
    assert option(command, "--checkpoints") == str(checkpoint_folder(FAST, document.data.digest))
    assert "--keep-checkpoints" in command


def test_an_interrupted_local_training_continues_its_mlflow_run_even_before_its_first_checkpoint(
    records: Path, model: Path, commands: list[list[str]]
) -> None:
    for name in ("first", "second"):
        start(pipeline_run(str(records), str(model), FAST, name, "1", 1))
    assert [option(command, "--run-key") for command in commands] == ["class1-first", "class1-first"]
    shutil.rmtree(checkpoint_folder(FAST, read_model(model).data.digest))  # as after its registration
    start(pipeline_run(str(records), str(model), FAST, "third", "1", 1))
    assert option(commands[-1], "--run-key") == "class1-third"


def test_a_local_training_in_a_pod_uses_the_mounted_artifacts_and_deletes_its_checkpoints(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(TrainingFailed, match="exit code 0 but /minio/b/model holds no model"):
        start(pipeline_run("minio://b/records", "minio://b/model", FAST, "id", "1", 2), launcher="local")
    (command,) = commands
    assert command[0] == "mpirun"
    assert option(command, "train") == "/minio/b/records"
    assert option(command, "--out") == "/minio/b/model"
    assert "--keep-checkpoints" not in command


@pytest.mark.parametrize(("launcher", "pod"), [("mpijob", ""), ("auto", "10.0.0.1")])
def test_an_mpijob_reads_and_writes_at_the_artifacts_uris(
    launcher: str, pod: str, jobs: list[MPIJobSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", pod)
    run = pipeline_run("minio://bucket/records", "minio://bucket/model", FAST, "id", "1", 4)
    start(run, launcher, slots_per_worker=2)
    (job,) = jobs
    assert (job.name, job.run_key, job.workers, job.slots_per_worker) == (
        "tinyunet-class1-id",
        "class1-id",
        2,
        2,
    )
    arguments = list(job.command)
    assert arguments[:3] == ["python3", "-m", "tinyunet"]
    assert option(arguments, "train") == "s3://bucket/records"
    assert option(arguments, "--out") == "s3://bucket/model"
    assert option(arguments, "--lease") == "300"
    assert "--checkpoints" not in arguments


@pytest.mark.parametrize(
    ("source", "ranks", "slots", "message"),
    [
        ("s3://bucket/records", 2, 4, "slots_per_worker is 4; expected a divisor of the world size 2"),
        ("s3://bucket/records", 3, 1, "ranks is 3; expected a divisor of the global batch 16"),
        ("s3://bucket/absent", 2, 1, "has no s3://bucket/absent/manifest.json; expected the object store"),
    ],
)
def test_an_mpijob_that_could_not_train_is_not_created(
    source: str, ranks: int, slots: int, message: str, jobs: list[MPIJobSpec]
) -> None:
    with pytest.raises(UserError, match=message):
        start(pipeline_run(source, "s3://bucket/model", FAST, "id", "1", ranks), "mpijob", slots)
    assert jobs == []


@pytest.mark.parametrize(
    ("resource", "count", "slots", "message"),
    [
        ("nvidia.com/gpu", "1", 2, "each worker has 1 nvidia.com/gpu; expected one per rank"),
        ("nvidia.com/mig-1g.10gb", "2", 2, "expected 1 of both"),
    ],
)
def test_a_job_whose_ranks_would_share_a_gpu_is_not_created(
    resource: str, count: str, slots: int, message: str, jobs: list[MPIJobSpec]
) -> None:
    run = pipeline_run("s3://bucket/records", "s3://bucket/model", FAST, "id", "1", 2)
    workers = SimpleNamespace(resources={"limits": {resource: count}})
    with pytest.raises(UserError, match=message):
        launch(run, slots_per_worker=slots, launcher="mpijob", task_config=workers)
    assert jobs == []


def test_the_gpus_of_the_nodes_are_printed_before_the_job_is_created(
    jobs: list[MPIJobSpec], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {"status": {"allocatable": {"nvidia.com/gpu": "4"}}}
    monkeypatch.setattr("tinyunet.mpijob.permissions.nodes", lambda: [node])
    run = pipeline_run("s3://bucket/records", "s3://bucket/model", FAST, "id", "1", 4)
    workers = SimpleNamespace(resources={"limits": {"nvidia.com/gpu": "2"}})
    launch(run, slots_per_worker=2, launcher="mpijob", task_config=workers)
    assert (
        "2 workers need 2 nvidia.com/gpu each; the nodes have 4, at most 4 in one" in capsys.readouterr().out
    )
    assert jobs[0].pods.resources == workers.resources


def test_an_unknown_launcher_is_an_error() -> None:
    with pytest.raises(UserError, match="launcher is 'slurm'; expected one of auto, local, mpijob"):
        start(TrainingRun(records="r", out="m"), "slurm")


def test_bad_input_of_the_ranks_is_a_user_error(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(exit_code: int) -> Any:
        def run_ranks(command: list[str]) -> None:
            raise TrainingFailed("the ranks failed", exit_code)

        return run_ranks

    run = TrainingRun(records=str(records), out="absent")
    monkeypatch.setattr(module, "run_ranks", fail(2))
    with pytest.raises(UserError, match="because of wrong input; the line above gives the reason"):
        start(run)
    monkeypatch.setattr(module, "run_ranks", fail(137))
    with pytest.raises(TrainingFailed, match="the ranks failed"):
        start(run)


def test_ranks_that_do_not_divide_the_batch_are_not_started(commands: list[list[str]]) -> None:
    with pytest.raises(UserError, match="ranks is 3; expected a divisor of the global batch 16"):
        launch_local(TrainingRun(records="r", out="m", ranks=3))
    assert commands == []


@pytest.mark.parametrize("uri", ["minio://bucket/a/b", "s3://bucket/a", "gs://bucket/a", "/folder/records"])
def test_the_mounted_path_of_an_artifact_is_that_of_kfp(uri: str) -> None:
    from kfp import dsl

    assert mounted_path(uri) == dsl.Dataset(uri=uri).path
