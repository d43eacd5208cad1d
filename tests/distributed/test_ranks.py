"""Real ranks under mpirun: the same steps for every split of the batch, and resumption after a kill."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

STEPS = {"nvidia": 20, "fast": 12}
BATCH = {"nvidia": 16, "fast": 4}  # a deterministic step takes several times longer
SIZE = {"nvidia": "image_size=32", "fast": "patch=32"}
SETTINGS = ["precision=float32", "checkpoint_every=1000", "validate_every=0"]
Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """The working folder of all trainings, with a database of MLflow."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "runs").mkdir()
    shutil.copy(empty_database, folder / "runs" / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def command(records: Path, python: str) -> Command:
    """Builds the training command for a model folder, a number of ranks and a preset.

    A training with the preset `fast` is deterministic.
    """

    def build(out: str, ranks: int, preset: str) -> list[str]:
        chosen = [*SETTINGS, SIZE[preset], f"steps={STEPS[preset]}", f"global_batch={BATCH[preset]}"]
        chosen += [f"deterministic={preset == 'fast'}"]
        settings = [part for s in chosen for part in ("--set", s)]
        program = [python, "-m", "tinyunet", "train", str(records)]
        return [*program, "--out", out, "--ranks", str(ranks), "--preset", preset, *settings]

    return build


def run(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **(environment or {})}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False, env=variables
    )


@pytest.fixture(scope="module")
def trained(folder: Path, command: Command) -> Callable[[str, int], Path]:
    """Trains once per preset and number of ranks, and returns the model folder.

    horovodrun starts the two ranks of the preset `nvidia`, which yield their cores while they wait, as with
    our own command of mpirun; it starts the other ranks.
    """
    yielding = {"OMPI_MCA_mpi_yield_when_idle": "1"}

    def train(preset: str, ranks: int) -> Path:
        out = folder / f"{preset}-{ranks}"
        if not out.exists():
            line = command(out.name, ranks, preset)
            line = by_horovodrun(line) if (preset, ranks) == ("nvidia", 2) else line
            result = run(line, folder, yielding | {"HOROVOD_TIMELINE": f"{out}.timeline"})
            assert result.returncode == 0, result.stdout + result.stderr
        return out

    return train


def by_horovodrun(line: list[str]) -> list[str]:
    """Return the command that starts the same ranks by horovodrun, each as one process."""
    option = line.index("--ranks")
    horovodrun = str(Path(sys.executable).with_name("horovodrun"))
    return [horovodrun, "--mpi", "-np", line[option + 1], *line[:option], *line[option + 2 :]]


def losses(model: Path) -> np.ndarray:
    with (model / "history.csv").open() as file:
        return np.array([[float(row["loss"]), float(row["dice_loss"])] for row in csv.DictReader(file)])


def summary(model: Path) -> dict[str, Any]:
    return dict(json.loads((model / "model.json").read_text()))


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_take_the_same_20_steps_as_one_process(trained: Callable[[str, int], Path], ranks: int) -> None:
    """Two of them are started by horovodrun."""
    one, many = losses(trained("nvidia", 1)), losses(trained("nvidia", ranks))
    assert len(one) == STEPS["nvidia"]
    np.testing.assert_allclose(many, one, rtol=1e-5)
    scores = [summary(trained("nvidia", n))["training"] for n in (1, ranks)]
    for name in ("validation_dice", "validation_ap", "final_loss"):
        assert scores[1][name] == pytest.approx(scores[0][name], rel=1e-4), name
    assert summary(trained("nvidia", ranks))["world_size"] == ranks


def test_gradients_of_the_last_layers_are_sent_during_the_backward_pass(
    folder: Path, trained: Callable[[str, int], Path]
) -> None:
    """In Horovod's timeline, the gradients of the logits layer are sent well before those of the encoder."""
    trained("nvidia", 2)
    events = json.loads((folder / "nvidia-2.timeline").read_text().rstrip().rstrip(",").rstrip("]") + "]")
    tensors = {e["pid"]: e["args"]["name"] for e in events if "name" in e.get("args", {})}
    starts: dict[str, list[float]] = {"logits": [], "encoder0": []}
    for event in events:
        name = tensors.get(event.get("pid"), "")
        if event.get("name") == "NEGOTIATE_ALLREDUCE" and "Grouped" in name and "_1of" in name:
            for layer in starts.keys() & set(name.split("_")):
                starts[layer].append(event["ts"])
    assert len(starts["logits"]) == len(starts["encoder0"]) == STEPS["nvidia"]
    differences = np.array(starts["encoder0"]) - starts["logits"]
    undisturbed = np.quantile(differences, 0.75)  # on a busy machine, the ranks of many steps wait for a core
    assert undisturbed > 0.05 * np.median(np.diff(starts["logits"])), "5 % of a step"


def test_a_deterministic_training_gives_the_same_weights_at_any_world_size(
    trained: Callable[[str, int], Path],
) -> None:
    """Adam divides by the size of the gradient and therefore amplifies a difference in the last bit."""
    one, two = trained("fast", 1), trained("fast", 2)
    assert np.array_equal(losses(two), losses(one))
    assert len(losses(one)) == STEPS["fast"]
    assert summary(two)["weights_digest"] == summary(one)["weights_digest"]


def test_only_rank_0_prints_and_a_finished_model_is_not_trained_again(
    folder: Path, trained: Callable[[str, int], Path], command: Command
) -> None:
    before = summary(trained("fast", 2))
    result = run(command("fast-2", 2, "fast"), folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("already holds this model") == 1
    assert summary(folder / "fast-2") == before


def test_a_world_size_that_does_not_divide_the_batch_is_refused_in_one_line(
    folder: Path, command: Command
) -> None:
    result = run(command("uneven", 3, "fast"), folder)
    assert result.returncode == 2
    assert "ranks is 3; expected a divisor of the global batch 4" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not (folder / "uneven").exists()


def test_a_stopped_training_saves_its_last_step_and_resumes_to_the_same_weights(
    folder: Path, trained: Callable[[str, int], Path], command: Command
) -> None:
    line = command("stopped", 1, "fast")
    step = stop(line, folder, signal.SIGTERM)
    checkpoints = [path.name for path in (folder / "stopped.checkpoints").iterdir()]
    assert checkpoints == [f"step-{step:08d}.npz"]
    resumed = run(line, folder)
    assert resumed.returncode == 0, resumed.stderr
    assert f"steps {step} to {STEPS['fast']}" in resumed.stdout
    assert summary(folder / "stopped")["weights_digest"] == summary(trained("fast", 1))["weights_digest"]
    assert np.array_equal(losses(folder / "stopped"), losses(trained("fast", 1))), "the history is complete"


def test_ranks_that_are_stopped_and_killed_resume_to_the_uninterrupted_weights(
    folder: Path, trained: Callable[[str, int], Path], command: Command
) -> None:
    """The training ends by Ctrl-C, is resumed, ends by kill -9 of one rank, and is resumed on one rank."""
    step = stop(command("killed", 2, "fast"), folder, signal.SIGINT)

    process = start([*command("killed", 2, "fast"), "--set", "checkpoint_every=1"], folder)
    wait_for(folder / "killed.checkpoints" / f"step-{step + 1:08d}.npz", process)
    ranks_of(folder)[1].kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0, output
    assert not (folder / "killed").exists(), "an interrupted training must not look finished"

    resumed = run(command("killed", 1, "fast"), folder)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    steps = re.search(rf"steps (\d+) to {STEPS['fast']}", resumed.stdout)
    assert steps, resumed.stdout
    assert int(steps[1]) > step, "the training must continue after the step of the killed training"
    assert summary(folder / "killed")["weights_digest"] == summary(trained("fast", 2))["weights_digest"]
    assert len(losses(folder / "killed")) == STEPS["fast"]
    assert not (folder / "killed.checkpoints").exists()


def test_a_training_locks_its_checkpoints_and_its_ranks_end_with_the_launcher(
    folder: Path, command: Command
) -> None:
    line = [*command("busy", 2, "fast"), "--set", "steps=100000", "--set", "checkpoint_every=1"]
    process = subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(folder / "busy.checkpoints" / "step-00000001.npz", process)
    ranks = ranks_of(folder)
    second = run([*command("busy", 1, "fast"), "--set", "steps=100000"], folder)
    process.kill()
    process.wait()
    assert second.returncode == 2
    assert "another training holds" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1, second.stderr
    assert len(ranks) == 2
    assert psutil.wait_procs(ranks, timeout=60)[1] == []
    assert not (folder / "busy").exists()
    assert list((folder / "busy.checkpoints").glob("step-*.npz")), "the last checkpoint remains"


def test_an_error_of_all_ranks_is_printed_once(folder: Path, command: Command) -> None:
    refused = run([*command("large", 2, "nvidia"), "--set", "image_size=8000"], folder)
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith("tinyunet: error: image_size is 8000, but the records hold ")


def start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop(command: list[str], folder: Path, number: signal.Signals) -> int:
    """Send a signal to a training after its first step; return the step that it saved."""
    process = start(command, folder)
    assert process.stdout is not None
    with process.stdout as lines:
        for text in lines:
            if text.startswith("step 1/"):
                break
        process.send_signal(number)
        output = lines.read()
    assert process.wait(timeout=120) == 128 + number
    saved = re.search(r"stopped after step (\d+); the same command resumes", output)
    assert saved, output
    return int(saved[1])


def wait_for(path: Path, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def ranks_of(folder: Path) -> list[psutil.Process]:
    """Return the ranks that run in a folder: the programs that mpirun has started, in their order.

    If one of them is killed, the server of prepared processes kills the process that works for it.
    """
    ranks: dict[int, psutil.Process] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            rank = process.environ().get("OMPI_COMM_WORLD_RANK")
            if rank is not None and "python" in process.name() and process.cwd() == str(folder):
                ranks[int(rank)] = process
    return [ranks[rank] for rank in sorted(ranks)]
