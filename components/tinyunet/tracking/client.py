"""The MLflow client, its errors in one line, and operations on runs.

Every call reads its settings from the environment: `MLFLOW_EXPERIMENT_NAME` (default: tinyunet), and the
variables that `tracking.uri` reads.
"""

import getpass
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.core.errors import UserError
from tinyunet.core.network import connection_problem, hide_credentials, prepare_mlflow_client
from tinyunet.core.urls import redact
from tinyunet.tracking.database import creation_lock, database_error
from tinyunet.tracking.deletion import check_experiment
from tinyunet.tracking.names import experiment_folder, tag_filter
from tinyunet.tracking.uri import database_path, default_uri, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_KEY = "tinyunet.run_key"
MAX_PARAMS, MAX_TEXT = 100, 5000  # MLflow's limits: parameters per request; characters of a value
SHORT_TIMEOUT_S = 6  # to connect or to answer; MLflow makes two attempts
_SETTINGS = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True)
class RunRecord:
    """The MLflow record of a finished training: parameters, tags, and the last value of every metric."""

    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]


def read_run(run_id: str) -> RunRecord:
    """Read the record of a finished training.

    Raises:
        UserError: if MLflow cannot be reached or has no such run, or the run is not a finished training.
    """
    with mlflow_errors(short_timeout=True):
        run = open_client(existing=True).get_run(run_id)
    if run.info.status != "FINISHED":
        raise UserError(f"run {run_id} is {run.info.status}; expected a finished training")
    if "data_digest" not in run.data.tags:
        raise UserError(f"run {run_id} has no tag data_digest; expected a training of tinyunet")
    return RunRecord(run.data.params, run.data.tags, run.data.metrics)


def open_client(*, existing: bool = False) -> "MlflowClient":
    """Return a client of the tracking store and of the registry.

    Args:
        existing: Raise an error if a database file does not exist, instead of creating it.

    Raises:
        UserError: if `existing` is true and the database file does not exist.
    """
    silence_mlflow()
    import mlflow

    uri = tracking_uri()
    database = database_path(uri)
    folder = database.parent if database else None
    if database and existing and not database.is_file():
        raise UserError(
            f"MLflow's database {database} does not exist; expected the database of the run or model: "
            "change to the folder where it was made, or set MLFLOW_TRACKING_URI"
        )
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    with creation_lock(folder):
        return mlflow.MlflowClient(uri)


def silence_mlflow() -> None:
    """Turn off MLflow's telemetry, progress bars, long retries and log; set its proxies and CA file."""
    prepare_mlflow_client(_SETTINGS)
    import mlflow  # the import sets the levels of the loggers

    del mlflow
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # also raised as exceptions


@contextmanager
def mlflow_errors(*, short_timeout: bool = False) -> Iterator[None]:
    """Convert MLflow's exceptions to a UserError, whose message is one line.

    Args:
        short_timeout: Give up after 12 s if the server does not answer.

    Raises:
        UserError: instead of the exceptions of MLflow and of its HTTP and database libraries.
    """
    silence_mlflow()
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    if short_timeout:
        os.environ[name] = str(SHORT_TIMEOUT_S)
    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException, ConnectionError) as error:
        reason = connection_problem(error, tracking_uri(), "REQUESTS_CA_BUNDLE") or _reason(error)
        raise UserError(f"MLFLOW_TRACKING_URI is {redact(tracking_uri())}: {reason}") from error
    finally:
        if short_timeout:
            os.environ.pop(name, None)
            os.environ.update({name: before} if before is not None else {})


def experiment_id(client: "MlflowClient") -> str:
    """Return the id of the experiment of TinyUNet's runs; create the experiment if it does not exist.

    Raises:
        UserError: if the experiment was deleted.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "tinyunet"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        _create_experiment(client, name)
        experiment = client.get_experiment_by_name(name)
    check_experiment(experiment)
    return str(experiment.experiment_id)


def _create_experiment(client: "MlflowClient", name: str) -> None:
    """Create an experiment, unless another process has just created it.

    If the tracking store is a database file, the artifacts are stored in a folder beside the file.
    """
    from mlflow.exceptions import MlflowException

    database = database_path(tracking_uri())
    folder = experiment_folder(name)
    location = (database.parent / "mlartifacts" / folder).as_uri() if database else None
    kind = {"mlflow.experimentKind": "custom_model_development"}  # for charts in the UI, not traces
    try:
        client.create_experiment(name, artifact_location=location, tags=kind)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def find_run(client: "MlflowClient", experiment: str, run_key: str) -> str | None:
    """Return the id of the newest run whose tag `tinyunet.run_key` is `run_key`, or None."""
    runs = client.search_runs([experiment], tag_filter(RUN_KEY, run_key), order_by=["start_time DESC"])
    return next((str(run.info.run_id) for run in runs if run.data.tags.get(RUN_KEY) == run_key), None)


def create_run(
    client: "MlflowClient", experiment: str, run_key: str, *, name: str, source: str, identity: dict[str, str]
) -> str:
    """Create a run and return its id.

    Args:
        client: The client.
        experiment: Id of the experiment.
        run_key: Identity of the training.
        name: Name shown in the UI.
        source: The command that creates the run.
        identity: Tags by which the same command finds the run again. They are written in the same request, so
            that a command that is killed after it leaves no run that nobody continues.
    """
    tags = identity | {RUN_KEY: run_key, "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # the user of a container may have no name
        tags["mlflow.user"] = getpass.getuser()
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


def log_run_data(
    client: "MlflowClient",
    run_id: str,
    *,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write parameters, tags and final metrics to a run; credentials in URIs are replaced by ***.

    A parameter that the run already has is not changed.
    """
    from mlflow.entities import Metric, Param, RunTag

    present = client.get_run(run_id).data.params
    new = [Param(k, redact(str(v))[:MAX_TEXT]) for k, v in flatten(params or {}).items() if k not in present]
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()],
        tags=[RunTag(name, redact(str(value))[:MAX_TEXT]) for name, value in (tags or {}).items()],
    )
    for i in range(0, len(new), MAX_PARAMS):
        client.log_batch(run_id, params=new[i : i + MAX_PARAMS])


def log_path(client: "MlflowClient", run_id: str, path: Path, artifact_path: str | None) -> None:
    """Upload a file, or the content of a folder, into a folder of the run's artifacts."""
    log = client.log_artifacts if path.is_dir() else client.log_artifact
    log(run_id, str(path), artifact_path)


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested mappings as one mapping with dotted keys."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _reason(error: BaseException) -> str:
    database = database_path(tracking_uri())
    if database and (reason := database_error(error, database)):
        return reason
    text = " ".join(str(error).split())
    if "Invalid Host header" in text:
        return "the server refuses this host name; start it with --allowed-hosts NAME,NAME:*"
    if " 401" in text or "Unauthorized" in text:
        return "not authorized; set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if any(word in text for word in ("Max retries", "Connection", "timed out", "resolve")):
        in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
        local = "start it (make services starts one on this machine), or correct the address"
        remedy = "make connect NAMESPACE=this-namespace sets the address" if in_pod else local
        return f"no MLflow server answers at this address; {remedy}"
    if text.endswith("not found"):
        page = "make ui" if tracking_uri() == default_uri() else "its web page"
        text += f"; expected a registered model or a run of this MLflow ({page} shows them)"
    return hide_credentials(text)[:300]
