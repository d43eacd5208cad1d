"""How a local run is stopped, and what the same command finds when it is started again."""

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
    left = f"; go on with CLASS={','.join(map(str, range(1, 11)))}" if classes == "all" else ""
    assert errors.decode().splitlines() == [f"tinyunet: stopped; every process of the run has ended{left}"]
    (log,) = tmp_path.glob("runs/*/run.log")
    assert log.read_text().count("Executing task") == 1, "no other class may begin"
    assert [child for child in children if child.is_running()] == []


@pytest.mark.parametrize(("number", "ranks"), [(signal.SIGINT, "2"), (signal.SIGTERM, "1")])
def test_a_signal_to_the_whole_group_keeps_the_last_step(
    tmp_path: Path, number: signal.Signals, ranks: str
) -> None:
    """As a supervisor sends it, without a terminal; make, which has it too, passes it on once more."""
    source = "synthetic://?train=24&test=16&size=64&seed=7"
    process = subprocess.Popen(
        command("--source", source, "--image-size", "64", "--steps", "250", "--ranks", ranks),
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for_text(tmp_path, "step 10/250", process)
    children = psutil.Process(process.pid).children(recursive=True)
    for _ in range(2):
        os.killpg(process.pid, number)
        time.sleep(0.02)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert errors.decode().splitlines() == [
        "tinyunet: stopped; every process of the run has ended; the same command resumes the training"
    ]
    assert [child for child in children if child.is_running()] == []
    (kept,) = tmp_path.glob("runs/checkpoints/*/step-*.npz")
    assert int(kept.stem.removeprefix("step-")) % 50, "not a periodic checkpoint"


def test_a_run_that_ended_after_its_training_does_not_train_again(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(*QUICK), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for_text(tmp_path, "Executing task 'evaluate'", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors.decode().splitlines() == [
        "tinyunet: stopped; every process of the run has ended; the same command takes up the trained model"
    ]
    (link,) = tmp_path.glob("runs/checkpoints/*/*")
    trained = link.resolve()

    result = run_local(tmp_path, *QUICK)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert f"{trained} is this training's model already" in result.stdout
    assert "step 1/6" not in result.stdout
    (taken,) = (tmp_path / "runs" / "latest").glob("tinyunet-*/train/model")
    assert (taken / "model.keras").read_bytes() == (trained / "model.keras").read_bytes()
    assert json.loads((taken / "model.json").read_text()) == json.loads((trained / "model.json").read_text())
    assert list(tmp_path.glob("runs/checkpoints/*/*")) == [], "a run that came to its end trains anew"
