"""Stopping a local run, and starting the same command again."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.local_run import (
    QUICK,
    command,
    environment,
    run_local,
    wait_for_children,
    wait_for_text,
)  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code", "classes"),
    [(signal.SIGINT, 130, "1"), (signal.SIGTERM, 143, "2"), (signal.SIGINT, 130, "all")],
)
def test_stopping_a_run_ends_all_its_processes(
    tmp_path: Path, number: signal.Signals, code: int, classes: str
) -> None:
    source = "synthetic://?train=4000&test=2000&size=512&seed=1"
    process = subprocess.Popen(
        command("--source", source, "--class-id", classes),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    children = wait_for_children(process.pid, 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    names = ",".join(f"class{number}" for number in range(1, 11))
    hint = f"; continue with CATEGORY={names}" if classes == "all" else ""
    assert errors.decode().splitlines() == [f"tinyunet: stopped; every process of the run has ended{hint}"]
    (log,) = tmp_path.glob("runs/*/run.log")
    assert log.read_text().count("Executing task") == 1, "no other class may start"
    assert [child for child in children if child.is_running()] == []


@pytest.mark.parametrize(("number", "ranks"), [(signal.SIGINT, "2"), (signal.SIGTERM, "1")])
def test_after_a_signal_to_the_process_group_the_last_step_is_in_a_checkpoint(
    folder: Path, number: signal.Signals, ranks: str
) -> None:
    """A supervisor sends the signal without a terminal, and make sends it a second time."""
    source = "synthetic://?train=24&test=16&size=32&seed=7"
    process = subprocess.Popen(
        command("--source", source, "--image-size", "32", "--steps", "250", "--ranks", ranks),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for_text(folder, "step 10/250", process)
    children = psutil.Process(process.pid).children(recursive=True)
    for _ in range(2):
        os.killpg(process.pid, number)
        time.sleep(0.02)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert errors.decode().splitlines() == [
        "tinyunet: stopped; every process of the run has ended; the same command resumes the training"
    ]
    assert [child for child in children if child.is_running()] == []
    (checkpoint,) = folder.glob("runs/checkpoints/*/step-*.npz")
    assert int(checkpoint.stem.removeprefix("step-")) % 50, "not a periodic checkpoint"


@pytest.mark.usefixtures("eager_processes")
def test_a_run_that_was_stopped_after_its_training_does_not_train_again(folder: Path, python: str) -> None:
    line = command(*QUICK, python=python)
    process = subprocess.Popen(
        line, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for_text(folder, "Executing task 'evaluate'", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 143
    assert errors.decode().splitlines() == [
        "tinyunet: stopped; every process of the run has ended; the same command resumes the training"
    ]
    (first,) = folder.glob("runs/*/tinyunet-*/train/model/model.json")

    result = run_local(folder, *QUICK, python=python)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert "steps 6 to 6" in result.stdout
    (second,) = (folder / "runs" / "latest").glob("tinyunet-*/train/model/model.json")
    assert second.resolve() != first.resolve()
    models = [json.loads(path.read_text()) for path in (first, second)]
    assert models[0]["weights_digest"] == models[1]["weights_digest"]
    assert models[0]["mlflow"]["run_id"] == models[1]["mlflow"]["run_id"]
    assert list(folder.glob("runs/checkpoints/*/*")) == [], "a finished run leaves no checkpoint"


@pytest.mark.usefixtures("eager_processes")
def test_only_the_checkpoints_of_registered_classes_are_deleted(
    folder: Path, class1: Path, python: str
) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "Class1").symlink_to(class1)
    (folder / "data" / "Class3" / "Train").mkdir(parents=True)
    (folder / "data" / "Class3" / "Train" / "0001.PNG").write_bytes(b"no image")
    (folder / "runs" / "checkpoints" / "another").mkdir(parents=True)
    result = run_local(folder, *QUICK, "--source", "data", "--class-id", "1,3", python=python)
    assert result.returncode == 2
    assert result.stderr.rstrip().endswith("; continue with CATEGORY=class3")
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("Class 1 is finished; "))
    evaluation = Path(line.removeprefix("Class 1 is finished; its evaluation is in "))
    (report,) = folder.glob("runs/*/report-class1.html")
    assert report.read_bytes() == (evaluation / "report.html").read_bytes()
    assert [path.name for path in (folder / "runs" / "checkpoints").glob("*/")] == ["another"]
    table = report.with_name("report.html").read_text()
    assert "Missing, because a step failed: class3." in table
    assert 'href="report-class1.html"' in table
