"""The metrics of the steps of a training in its MLflow run."""

import time
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_BATCH = 1000  # metrics per request, MLflow's limit


def complete_history(
    client: "MlflowClient", run_id: str, history: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """Add to a run the metrics of steps that it lacks.

    A rank that is killed, or that ends while MLflow does not answer, has not sent its last metrics.

    Args:
        client: Client of the tracking server.
        run_id: The run.
        history: The (step, value) pairs of every metric; values that are not finite are omitted.
    """
    from mlflow.entities import Metric

    now, missing = int(time.time() * 1000), []
    for name, points in history.items():
        sent = {one.step for one in client.get_metric_history(run_id, name)}
        missing += [
            Metric(name, value, now, int(step))
            for step, value in points
            if int(step) not in sent and isfinite(value)
        ]
    for start in range(0, len(missing), MAX_BATCH):
        client.log_batch(run_id, metrics=missing[start : start + MAX_BATCH])
