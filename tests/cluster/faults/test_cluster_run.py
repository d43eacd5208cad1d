"""Faults at random moments of a pipeline run on the cluster: the same task again makes the run whole."""

import csv
import io
import json
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from cluster import Cluster
from deployment import reached
from hypothesis import strategies as st
from tasks import worker_settings
from trial import CHECKPOINT_EVERY, ENDED, STEPS, TASKS, Trial, nothing_left, wait_for_services
from victims import FAULTS

from tests.faults.clock import Clock, compiled
from tests.faults.driver import SEED, Moment, Result, chosen, number_of_examples, try_all
from tinyunet.storage import s3

SECONDS = (2.0, 20.0)  # of a fault that lasts


@dataclass(frozen=True)
class Run:
    """A run without a fault: what it left, and how long its phases took in seconds."""

    state: dict[str, object]
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    """A clock whose folder is mounted into the tasks and the workers."""
    return compiled(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def workers(services: Cluster, clock: Clock) -> SimpleNamespace:
    """Settings of the worker pods."""
    return worker_settings(services, clock.folder)


@pytest.fixture(scope="module")
def undisturbed(services: Cluster, location: str, workers: SimpleNamespace, clock: Clock) -> Run:
    trial = Trial(services, f"undisturbed-{SEED}", location, workers, clock)
    with trial.output.read():
        ends = trial.measure()
    assert ends == ["Succeeded"] * len(TASKS), trial.last_line()
    print(f"\nundisturbed: { ({name: round(value, 1) for name, value in trial.seconds.items()}) }")
    found = state(trial)
    assert (found["checkpoints"], found["history"]) == ([], list(range(1, STEPS + 1)))
    assert nothing_left(trial) == []
    return Run(found, trial.seconds)


@st.composite
def moments(draw: st.DrawFn) -> Moment:
    """A fault, the phase in which it comes, the fraction of it that is over, and its seconds.

    The fraction of the phase `ranks` is one of steps, those of the others are fractions of time.
    """
    fault = draw(st.sampled_from(chosen(FAULTS)))
    phase = draw(st.sampled_from(FAULTS[fault][1]))
    return fault, phase, draw(st.integers(0, 100)) / 100, draw(st.sampled_from(SECONDS))


def test_the_same_task_after_a_fault_ends_as_without_the_fault(
    services: Cluster, location: str, workers: SimpleNamespace, clock: Clock, undisturbed: Run
) -> None:
    def try_one(number: int, moment: Moment) -> Result:
        settings = workers
        if moment[0].startswith("clock"):
            env = [{"name": name, "value": value} for name, value in clock.environment.items()]
            settings = SimpleNamespace(**vars(workers) | {"env": [*workers.env, *env]})
        trial = Trial(services, f"fault-{SEED}-{number}", location, settings, clock)
        result = Result(False, ["the example was not completed"])
        with trial.output.read():
            try:
                result = disturb(trial, moment, undisturbed)
            finally:
                trial.remove()
                if result.problems:
                    keep(trial)
        return result

    try_all(moments(), len(chosen(FAULTS)), number_of_examples(10), try_one)


def disturb(trial: Trial, moment: Moment, undisturbed: Run) -> Result:
    """Run both tasks, disturb one of them, and run each again that fails."""
    fault, phase, fraction, seconds = moment
    met = False
    for task in TASKS:
        trial.start(task)
        if (phase == "register") == (task == "register"):
            if trial.wait_for(phase) and phase == "ranks":
                trial.wait_for_step(round(fraction * STEPS))
            else:
                time.sleep(fraction * undisturbed.seconds[phase])
            ran = trial.phase() not in ENDED
            met = FAULTS[fault][0](trial, seconds) and ran
        end = trial.wait()
        if end not in ENDED:
            return Result(met, [f"{task} does not end; its last line: {trial.last_line()}"])
        if end != "Succeeded":
            print(f"   {task}: {end}: {trial.last_line()[:300]}", flush=True)
            wait_for_services(trial.cluster)
            trial.start(task)
            if (again := trial.wait()) != "Succeeded":
                return Result(met, [f"{task} again ends as {again}: {trial.last_line()}"])
    wait_for_services(trial.cluster)
    now = state(trial)
    problems = [
        f"{key}: {now[key]}, not {value}" for key, value in undisturbed.state.items() if now[key] != value
    ]
    return Result(met, [*problems, *filter(None, [repeated_too_much(trial)]), *nothing_left(trial)])


def state(trial: Trial) -> dict[str, object]:
    """Return what a run leaves that must not depend on faults."""
    model = f"{trial.location}/{trial.name}"
    with reached(trial.cluster):
        client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        experiment = client.get_experiment_by_name(trial.name)
        assert experiment
        runs = client.search_runs([experiment.experiment_id])
        models = client.search_logged_models([experiment.experiment_id])
        steps = {one.step for run in runs for one in client.get_metric_history(run.info.run_id, "loss")}
        history = csv.DictReader(io.StringIO(s3.read_bytes(f"{model}/history.csv").decode()))
        return {
            "weights": json.loads(s3.read_bytes(f"{model}/model.json"))["weights_digest"],
            "weights of the run": [run.data.tags.get("weights_digest") for run in runs],
            "runs": [run.info.status for run in runs],
            "logged models": [str(one.status) for one in models],
            "versions": [one.version for one in client.search_model_versions(f"name = '{trial.name}'")],
            "aliases": dict(client.get_registered_model(trial.name).aliases),
            "history": [int(row["step"]) for row in history],
            "steps in MLflow": sorted(steps),
            "model": sorted(key.removeprefix(model) for key in s3.list_objects(f"{model}/")),
            "checkpoints": s3.list_objects(f"{model}.checkpoints"),
        }


def repeated_too_much(trial: Trial) -> str:
    """Return the sentence that names work which was repeated, beyond one interval of checkpoints.

    A checkpoint that the store did not take is one more interval, and the training says so.
    """
    for (_, reached_, lost), (begin, _, _) in pairwise(trial.trainings()):
        if begin < reached_ - CHECKPOINT_EVERY * (1 + lost):
            return f"step {reached_} was reached, and the next training started after step {begin}"
    return ""


def keep(trial: Trial) -> None:
    """Keep the output of all pods of a trial that failed."""
    folder = Path(os.environ.get("FAULT_LOGS") or "runs/faults")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{trial.name}.log").write_text(trial.output.all())
