"""The run of a training that was killed, in a real database."""

from pathlib import Path

import mlflow
import pytest

from tests.unit.examples import records_manifest
from tinyunet.tracking.client import experiment_id, open_client
from tinyunet.tracking.tracker import Tracker


@pytest.fixture
def client(database: Path) -> mlflow.MlflowClient:
    return open_client(existing=True)


def begin(tracker: Tracker) -> str:
    params = {"preset": "fast", "steps": 10}
    return tracker.start("test", params=params, tags={}, dataset=records_manifest(), run_key="key")


def test_a_run_whose_training_was_killed_while_it_was_created_is_continued(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tinyunet.tracking.tracker.log_run_data", None)
        with pytest.raises(TypeError):
            begin(Tracker())
    tracker = Tracker()
    run_id = begin(tracker)
    tracker.finish("FINISHED")
    runs = client.search_runs([experiment_id(client)])
    assert [(run.info.run_id, run.info.status) for run in runs] == [(run_id, "FINISHED")]
    assert runs[0].data.params["steps"] == "10"
