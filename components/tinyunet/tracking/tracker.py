"""Training runs in MLflow: one per training, opened by rank 0 and found again by its key.

A server that cannot be reached ends a training before it starts; one that goes away later costs curves
only. `register`, `download_model` and `download_model_folder` are the registry's half of the same border.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

from tinyunet.core.config import FREE_KEYS
from tinyunet.core.errors import UserError
from tinyunet.core.presets import with_missing_options
from tinyunet.core.redaction import redact
from tinyunet.tracking.client import (
    create_run,
    experiment_id,
    find_run,
    flatten,
    log_run_data,
    mlflow_errors,
    open_client,
)
from tinyunet.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


FLUSH_S, RETRY_S, SAMPLING_S = 5.0, 60.0, 5.0
MAX_BATCH, MAX_PENDING = 1000, 100_000  # metrics per request (MLflow's limit); kept while the server is away
MAX_DIGEST = 36  # characters of a dataset's digest that MLflow takes
FREE = FREE_KEYS | {"world_size"}  # parameters that may change on resume
CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}


class NullTracker:
    """Tracks nothing: for all ranks but the first."""

    def start(
        self,
        run_name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        dataset: Mapping[str, Any],
        run_key: str,
    ) -> str:
        """Do nothing; give an empty run id."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Do nothing."""

    def reference(self) -> dict[str, str] | None:
        """Give None: there is no run."""
        return None

    def tag(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def finish(self, status: str) -> None:
        """Do nothing."""


class Tracker(NullTracker):
    """One MLflow run: parameters, tags, datasets, step curves, system metrics."""

    def __init__(self) -> None:
        self._client: MlflowClient | None = None
        self._monitor: SystemMetricsMonitor | None = None
        self._run_id = ""
        self._pending: list[Any] = []
        self._next_flush = 0.0
        self._warned = False

    def start(
        self,
        run_name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        dataset: Mapping[str, Any],
        run_key: str,
    ) -> str:
        """Open the run, or re-attach: to MLFLOW_RUN_ID if set, else to the run of the same key.

        Args:
            run_name: Name shown in the UI.
            params: Parameters, may be nested; one that the run already has keeps its value.
            tags: Tags.
            dataset: Manifest of the records; its splits become the run's datasets, with their digests.
            run_key: Identity of the training: the tag `tinyunet.run_key`.

        Returns:
            The run's id.

        Raises:
            UserError: if the server cannot be reached or refuses, within 15 s.
        """
        with mlflow_errors(short_timeout=True):
            self._client = client = open_client()
            tags = {
                "data_digest": dataset["digest"],
                "test_digest": dataset["splits"]["test"]["digest"],
                "synthetic": str(dataset["synthetic"]),
                **tags,
            }
            self._run_id = _attach(client, run_key, params, tags) or create_run(
                client, experiment_id(client), run_key, name=run_name, source="tinyunet train"
            )
            client.update_run(self._run_id, status="RUNNING")
            log_run_data(client, self._run_id, params=params, tags=tags)
            client.log_inputs(self._run_id, datasets=_datasets(dataset))
            self._monitor = _start_monitor(self._run_id)
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add points to the run's curves; they are sent in batches, and what is not finite is left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(k, float(v), now, step) for k, v in metrics.items() if isfinite(v)]
        del self._pending[:-MAX_PENDING]
        if time.monotonic() >= self._next_flush:
            self._flush()

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add the rows of a history, each with its `step`, to the curves."""
        for row in rows:
            self.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))

    def reference(self) -> dict[str, str] | None:
        """Give tracking URI (without credentials) and run id; None before the start."""
        return {"tracking_uri": redact(tracking_uri()), "run_id": self._run_id} if self._run_id else None

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run."""
        with self._forgiving(f"the run lacks {', '.join(tags)}"):
            log_run_data(self._open(), self._run_id, tags=tags)

    def finish(self, status: str) -> None:
        """Send what is pending and end the run: FINISHED, FAILED or KILLED."""
        if not self._run_id:
            return
        with self._forgiving("the last system metrics are missing"):
            _stop_monitor(self._monitor)
        self._flush()
        with self._forgiving(f"the run does not say {status}"):
            self._open().set_terminated(self._run_id, status)

    def _open(self) -> "MlflowClient":
        assert self._client is not None, "start() comes first"
        return self._client

    def _flush(self) -> None:
        self._next_flush = time.monotonic() + RETRY_S
        with self._forgiving("its curves will have gaps, history.csv has all points"):
            while self._pending:
                self._open().log_batch(self._run_id, metrics=self._pending[:MAX_BATCH])
                del self._pending[:MAX_BATCH]
            self._next_flush = time.monotonic() + FLUSH_S

    @contextmanager
    def _forgiving(self, consequence: str) -> Iterator[None]:
        """Warn, once, instead of failing: a training must not end because its log cannot be written."""
        try:
            with mlflow_errors(short_timeout=True):
                yield
        except Exception as error:
            if not self._warned:
                self._warned = True
                print(f"tinyunet: warning: {error}; {consequence}", file=sys.stderr, flush=True)


def _attach(
    client: "MlflowClient", run_key: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> str | None:
    """Find the run to go on with: one of the same key that had the same parameters and data."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        if client.get_run(run_id).info.lifecycle_stage != "active":
            raise UserError(f"MLFLOW_RUN_ID is {run_id!r}, a deleted run; restore it or unset the variable")
        return run_id
    found = find_run(client, experiment_id(client), run_key)
    if found is None:
        return None
    data = client.get_run(found).data
    before = with_missing_options(data.params)
    same = all(str(before.get(k, v)) == str(v) for k, v in flatten(params).items() if k not in FREE)
    return found if same and data.tags.get("data_digest") == tags["data_digest"] else None


def _datasets(manifest: Mapping[str, Any]) -> list[Any]:
    """Describe the splits of the records as MLflow datasets; no image is read."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": redact(str(manifest["source"]))})
    inputs = []
    for name, split in manifest["splits"].items():
        dataset = Dataset(
            name=f"dagm-class{manifest['class_id']}-{name}",
            digest=split["digest"][:MAX_DIGEST],
            source_type="tinyunet",
            source=source,
            profile=json.dumps({"num_rows": split["images"], "defective": split["defective"]}),
        )
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXTS[name])]))
    return inputs


def _start_monitor(run_id: str) -> "SystemMetricsMonitor":
    """Sample CPU, memory, disk, network and GPUs every 5 s; a resumed run's curves go on."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=SAMPLING_S, resume_logging=True)
    monitor.start()
    return monitor


def _stop_monitor(monitor: "SystemMetricsMonitor | None") -> None:
    """End the sampling with one more sample, so that a short run has some."""
    if monitor is not None:
        monitor.finish()
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.mlflow_logger.flush()
