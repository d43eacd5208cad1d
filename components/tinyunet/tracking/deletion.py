"""Runs and experiments that a user deleted in MLflow, and the commands that restore them."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.core.errors import UserError
from tinyunet.core.urls import redact
from tinyunet.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

ACTIVE = "active"  # a lifecycle stage


def check_experiment(experiment: "Experiment") -> None:
    """Check that an experiment is not deleted.

    Raises:
        UserError: if it is deleted; the message contains the command that restores the experiment.
    """
    if experiment.lifecycle_stage != ACTIVE:
        command = mlflow_command("experiments", "restore", "-x", str(experiment.experiment_id))
        raise UserError(
            f"the MLflow experiment {experiment.name!r} is deleted; set MLFLOW_EXPERIMENT_NAME to another "
            f"name, or restore it: {command}"
        )


def check_run(client: "MlflowClient", run_id: str) -> None:
    """Check that the run of MLFLOW_RUN_ID is not deleted.

    Raises:
        UserError: if it is deleted; the message contains the command that restores it or its experiment.
    """
    info = client.get_run(run_id).info
    if info.lifecycle_stage == ACTIVE:
        return
    command = mlflow_command("runs", "restore", "--run-id", run_id)
    if client.get_experiment(info.experiment_id).lifecycle_stage != ACTIVE:  # this restores its runs, too
        command = mlflow_command("experiments", "restore", "-x", str(info.experiment_id))
    raise UserError(
        f"MLFLOW_RUN_ID is {run_id!r}, a deleted run; unset the variable, or restore the run: {command}"
    )


def mlflow_command(*arguments: str) -> str:
    """Return a shell command that runs MLflow's program with the tracking store of this process.

    Without MLFLOW_TRACKING_URI, the program would create and use a file mlflow.db in the working folder. A
    URI with credentials is left out; the user has already set the variable in this case.
    """
    uri, program = tracking_uri(), shutil.which("mlflow")
    installed = program is not None and Path(program).parent == Path(sys.executable).parent
    words = ["mlflow"] if installed else [sys.executable, "-m", "mlflow"]
    setting = f"MLFLOW_TRACKING_URI={shlex.quote(uri)} " if redact(uri) == uri else ""
    return setting + shlex.join([*words, *arguments])
