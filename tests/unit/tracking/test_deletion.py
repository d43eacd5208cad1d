"""Errors about deleted runs and experiments: their commands are run as they are printed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyunet.core.errors import UserError
from tinyunet.tracking.client import experiment_id, open_client
from tinyunet.tracking.deletion import check_run, mlflow_command


def command_of(caught: pytest.ExceptionInfo[UserError]) -> str:
    """Return the command at the end of a message."""
    return str(caught.value).partition(": ")[2]


def test_the_printed_command_restores_an_experiment_from_any_folder(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "O'Brien's $runs 100%25", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db".replace("%", "%25")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "parts")
    client = open_client(existing=True)
    experiment = experiment_id(client)
    client.delete_experiment(experiment)
    with pytest.raises(
        UserError, match=r"^the MLflow experiment 'parts' is deleted; set MLFLOW_EX"
    ) as caught:
        experiment_id(client)
    shell = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    subprocess.run(command_of(caught), shell=True, check=True, cwd=elsewhere, env=shell)
    assert experiment_id(client) == experiment
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("deleted", ["run", "experiment"])
def test_the_printed_command_restores_the_run_of_the_environment_variable(
    deleted: str, database: Path
) -> None:
    from mlflow import experiments, runs

    client = open_client(existing=True)
    run = client.create_run(experiment_id(client)).info
    check_run(client, run.run_id)
    if deleted == "run":
        client.delete_run(run.run_id)
    else:
        client.delete_experiment(run.experiment_id)
    with pytest.raises(UserError, match=f"MLFLOW_RUN_ID is '{run.run_id}', a deleted run; unset") as caught:
        check_run(client, run.run_id)
    group, arguments = command_of(caught).partition(f"mlflow {deleted}s ")[::2]
    assert group.startswith(f"MLFLOW_TRACKING_URI=sqlite:///{database} ")
    commands = {"run": runs.commands, "experiment": experiments.commands}[deleted]
    assert CliRunner().invoke(commands, arguments.split()).exit_code == 0
    check_run(client, run.run_id)


def test_a_command_has_the_short_name_of_the_program_if_the_shell_finds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert mlflow_command("gc") == "MLFLOW_TRACKING_URI=http://host:5000 mlflow gc"
    monkeypatch.setenv("PATH", "/nowhere")
    assert mlflow_command("gc") == f"MLFLOW_TRACKING_URI=http://host:5000 {sys.executable} -m mlflow gc"


def test_a_command_contains_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@host:5000")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert mlflow_command("gc") == "mlflow gc"
