"""Record trainings in MLflow: rank 0 creates one run per training; a resumed training continues its run.

If the server cannot be reached at the start, the training ends with an error. If it cannot be reached later,
the training continues, and its run in MLflow is incomplete.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING

from tinyunet.core.config import CHANGEABLE_ON_RESUME
from tinyunet.core.documents.model import MlflowReference
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.presets import with_missing_options
from tinyunet.core.urls import redact
from tinyunet.tracking.client import (
    create_run,
    experiment_id,
    find_run,
    flatten,
    log_run_data,
    mlflow_errors,
    open_client,
)
from tinyunet.tracking.datasets import run_datasets
from tinyunet.tracking.deletion import check_run
from tinyunet.tracking.history import MAX_BATCH, complete_history
from tinyunet.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

FLUSH_S = 5.0  # time between two requests that send metrics
RETRY_S = 60.0  # time between two such requests after one that failed
SAMPLING_S = 5.0  # time between two samples of the system metrics
MAX_PENDING = 100_000  # metrics that are kept in memory while the server cannot be reached
CHANGEABLE_PARAMS = CHANGEABLE_ON_RESUME | {"world_size"}  # parameters that a resumed training may change


class NullTracker:
    """Records nothing. All ranks except rank 0 use it."""

    def start(
        self,
        run_name: str,
        *,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        dataset: RecordsManifest,
        run_key: str,
        history: Sequence[Mapping[str, float]] = (),
    ) -> str:
        """Return an empty run id."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Do nothing."""

    def reference(self) -> MlflowReference | None:
        """Return None, because there is no run."""
        return None

    def tag(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def finish(self, status: str) -> None:
        """Do nothing."""


class Tracker(NullTracker):
    """Records a training in MLflow: parameters, tags, datasets, metrics of the steps, system metrics."""

    def __init__(self) -> None:
        self._client: MlflowClient | None = None
        self._monitor: SystemMetricsMonitor | None = None
        self._run_id = ""
        self._pending: list[Metric] = []
        self._next_flush = 0.0
        self._warned = False

    def start(
        self,
        run_name: str,
        *,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        dataset: RecordsManifest,
        run_key: str,
        history: Sequence[Mapping[str, float]] = (),
    ) -> str:
        """Create a run, or continue an existing one.

        If the environment variable MLFLOW_RUN_ID is set, the run with this id is continued. Otherwise the
        newest run with the same key is continued if its data and its parameters are the same, apart from
        those that a resumed training may change. Otherwise a run is created.

        Args:
            run_name: Name shown in the UI.
            params: Parameters, which may be nested; a parameter that the run already has is not changed.
            tags: Tags of the run.
            dataset: Manifest of the records; its splits become the run's datasets.
            run_key: Identity of the training; stored as the tag `tinyunet.run_key`.
            history: Metrics of the steps before a resumed training, see `log_history`. The run gets those
                that it lacks.

        Returns:
            The id of the run.

        Raises:
            UserError: within 15 s, if the server cannot be reached or refuses a request.
        """
        with mlflow_errors(short_timeout=True):
            self._client = client = open_client()
            data = {"data_digest": dataset.digest}
            tags = {
                "test_digest": dataset.splits["test"].digest,
                "synthetic": str(dataset.synthetic),
                **data,
                **tags,
            }
            self._run_id = _find_resumable(client, run_key, params, tags) or create_run(
                client, experiment_id(client), run_key, name=run_name, source="tinyunet train", identity=data
            )
            client.update_run(self._run_id, status="RUNNING")
            log_run_data(client, self._run_id, params=params, tags=tags)
            client.log_inputs(self._run_id, datasets=run_datasets(dataset))
            names = {name for row in history for name in row} - {"step"}
            columns = {name: [(row["step"], row[name]) for row in history if name in row] for name in names}
            complete_history(client, self._run_id, columns)
            self._monitor = _start_monitor(self._run_id)
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add the metrics of a step to the run; values that are not finite are omitted.

        The metrics are sent in batches, at most once in FLUSH_S seconds.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(k, float(v), now, step) for k, v in metrics.items() if isfinite(v)]
        del self._pending[:-MAX_PENDING]
        if time.monotonic() >= self._next_flush:
            self._flush()

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add the metrics of several steps to the run; each row contains its `step`."""
        for row in rows:
            self.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))

    def reference(self) -> MlflowReference | None:
        """Return the tracking URI, without credentials, and the run id; None before the start."""
        if not self._run_id:
            return None
        return MlflowReference(tracking_uri=redact(tracking_uri()), run_id=self._run_id)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run."""
        with self._warn_on_error(f"the run does not have the tags {', '.join(tags)}"):
            log_run_data(self._started_client(), self._run_id, tags=tags)

    def finish(self, status: str) -> None:
        """Send the pending metrics and end the run with a status: FINISHED, FAILED or KILLED."""
        if not self._run_id:
            return
        with self._warn_on_error("the last system metrics are missing"):
            _stop_monitor(self._monitor)
        self._flush()
        with self._warn_on_error(f"the run does not have the status {status}"):
            self._started_client().set_terminated(self._run_id, status)

    def _started_client(self) -> "MlflowClient":
        assert self._client is not None, "call start() first"
        return self._client

    def _flush(self) -> None:
        self._next_flush = time.monotonic() + RETRY_S
        with self._warn_on_error("the curves of the run will have gaps; history.csv is complete"):
            while self._pending:
                self._started_client().log_batch(self._run_id, metrics=self._pending[:MAX_BATCH])
                del self._pending[:MAX_BATCH]
            self._next_flush = time.monotonic() + FLUSH_S

    @contextmanager
    def _warn_on_error(self, consequence: str) -> Iterator[None]:
        """Convert an exception to a warning, so that the training continues; print only the first one."""
        try:
            with mlflow_errors(short_timeout=True):
                yield
        except Exception as error:
            if not self._warned:
                self._warned = True
                print(f"tinyunet: warning: {error}; {consequence}", file=sys.stderr, flush=True)


def _find_resumable(
    client: "MlflowClient", run_key: str, params: Mapping[str, object], tags: Mapping[str, str]
) -> str | None:
    """Return the id of the run to continue, or None if there is none; see `Tracker.start`."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        check_run(client, run_id)
        return run_id
    run_id = find_run(client, experiment_id(client), run_key)
    if run_id is None:
        return None
    data = client.get_run(run_id).data
    recorded = with_missing_options(data.params) if data.params else {}  # killed while it was created
    fixed = {key: value for key, value in flatten(params).items() if key not in CHANGEABLE_PARAMS}
    same = all(str(recorded.get(key, value)) == str(value) for key, value in fixed.items())
    return run_id if same and data.tags.get("data_digest") == tags["data_digest"] else None


def _start_monitor(run_id: str) -> "SystemMetricsMonitor":
    """Start to sample the system metrics (CPU, memory, disk, network, GPUs); a resumed run continues them."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=SAMPLING_S, resume_logging=True)
    monitor.start()
    return monitor


def _stop_monitor(monitor: "SystemMetricsMonitor | None") -> None:
    """Stop sampling and send one more sample, so that a short run has at least one."""
    if monitor is not None:
        monitor.finish()
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.mlflow_logger.flush()
