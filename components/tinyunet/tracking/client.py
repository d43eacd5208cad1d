"""The way to MLflow: a quiet client, errors in one line, and what runs share.

Environment, read when a call needs it: `MLFLOW_EXPERIMENT_NAME` (default: tinyunet), and what `mlflow_uri`
reads.
"""

import fcntl
import getpass
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyunet.core.errors import UserError
from tinyunet.core.redaction import redact
from tinyunet.tracking.uri import database_path, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_KEY = "tinyunet.run_key"
MAX_PARAMS, MAX_TEXT = 100, 5000  # MLflow's limits: parameters per request; characters of a value
SHORT_TIMEOUT_S = 6  # to connect or to answer, twice, before a training has begun
_QUIET = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True)
class RunRecord:
    """What MLflow keeps of a finished training: parameters, tags, and the last value of every metric."""

    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]


def read_run(run_id: str) -> RunRecord:
    """Read a finished training.

    Raises:
        UserError: if MLflow cannot be reached, has no such run, or the run is not a finished training.
    """
    with mlflow_errors(short_timeout=True):
        run = open_client(existing=True).get_run(run_id)
    if run.info.status != "FINISHED":
        raise UserError(f"run {run_id} is {run.info.status}; expected a finished training")
    if "data_digest" not in run.data.tags:
        raise UserError(f"run {run_id} has no tag data_digest; expected a training of tinyunet")
    return RunRecord(run.data.params, run.data.tags, run.data.metrics)


def open_client(*, existing: bool = False) -> "MlflowClient":
    """Give a client of the tracking store and registry, with MLflow's noise turned off.

    Args:
        existing: For whoever looks something up: a database is not made.

    Raises:
        UserError: if a database that should exist does not.
    """
    silence_mlflow()
    import mlflow

    uri = tracking_uri()
    database = database_path(uri)
    folder = database.parent if database else None
    if database and existing and not database.is_file():
        raise UserError(
            f"MLflow's database {database} does not exist; expected that of the run or model: go to the "
            "folder where it was made, or set MLFLOW_TRACKING_URI"
        )
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    with _alone(folder):
        return mlflow.MlflowClient(uri)


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """Let one process at a time open a database here: opening a new one makes its tables."""
    if folder is None:
        yield
        return
    with (folder / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def silence_mlflow() -> None:
    """Turn off MLflow's reports home, progress bars, retries for minutes and INFO lines."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow  # sets the levels of these loggers when it is imported

    del mlflow
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def mlflow_errors(*, short_timeout: bool = False) -> Iterator[None]:
    """Turn MLflow's errors into one line; `short_timeout` gives a silent server 12 s in all."""
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
        raise UserError(f"MLFLOW_TRACKING_URI is {redact(tracking_uri())}: {_reason(error)}") from error
    finally:
        if short_timeout:
            os.environ.pop(name, None)
            os.environ.update({name: before} if before is not None else {})


def experiment_id(client: "MlflowClient") -> str:
    """Give the id of the runs' experiment, made if need be; a database keeps artifacts beside itself.

    Raises:
        UserError: if it was deleted.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "tinyunet"
    found = client.get_experiment_by_name(name)
    if found is None:
        _create_experiment(client, name)
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"the MLflow experiment {name!r} is deleted; restore it "
            f"(mlflow experiments restore -x {found.experiment_id}) or set MLFLOW_EXPERIMENT_NAME to another"
        )
    return str(found.experiment_id)


def _create_experiment(client: "MlflowClient", name: str) -> None:
    """Make an experiment, unless another process has done so meanwhile."""
    from mlflow.exceptions import MlflowException

    database = database_path(tracking_uri())
    location = (database.parent / "mlartifacts" / name).as_uri() if database else None
    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI then shows charts, not traces
    try:
        client.create_experiment(name, artifact_location=location, tags=kind)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def find_run(client: "MlflowClient", experiment: str, run_key: str) -> str | None:
    """Give the id of the newest run with this tag `tinyunet.run_key`, or None."""
    text = run_key.replace("'", "")
    runs = client.search_runs(
        [experiment], f"tags.`{RUN_KEY}` = '{text}'", order_by=["start_time DESC"], max_results=1
    )
    return str(runs[0].info.run_id) if runs else None


def create_run(client: "MlflowClient", experiment: str, run_key: str, *, name: str, source: str) -> str:
    """Open a run; `source` is the command that makes it."""
    tags = {RUN_KEY: run_key, "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


def log_run_data(
    client: "MlflowClient",
    run_id: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write parameters (those not there yet), tags and final metrics; URIs lose their credentials."""
    from mlflow.entities import Metric, Param, RunTag

    known = client.get_run(run_id).data.params
    new = [Param(k, redact(str(v))[:MAX_TEXT]) for k, v in flatten(params or {}).items() if k not in known]
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()],
        tags=[RunTag(name, redact(str(value))[:MAX_TEXT]) for name, value in (tags or {}).items()],
    )
    for i in range(0, len(new), MAX_PARAMS):
        client.log_batch(run_id, params=new[i : i + MAX_PARAMS])


def log_path(client: "MlflowClient", run_id: str, path: Path, artifact_path: str | None) -> None:
    """Upload a file, or a folder's content, into a folder of the run's artifacts."""
    log = client.log_artifacts if path.is_dir() else client.log_artifact
    log(run_id, str(path), artifact_path)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if "Invalid Host header" in text:
        return "the server refuses this host name; start it with --allowed-hosts NAME,NAME:*"
    if " 401" in text or "Unauthorized" in text:
        return "not authorized; set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if any(word in text for word in ("Max retries", "Connection", "timed out", "resolve")):
        return (
            "no MLflow server answers there; start it (make services starts one on this machine), "
            "or correct the address"
        )
    if text.endswith("not found"):
        text += "; expected a registered model or a run of this MLflow (make ui shows them)"
    return redact(text)[:300]
