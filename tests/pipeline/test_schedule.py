"""Schedules on Kubeflow: one for each pipeline, experiment and cron; a new one replaces the earlier ones."""

from pathlib import Path

import pytest
from fake_kfp import FakeKfp

from pipeline import compile as compiling
from pipeline import run, upload

pytestmark = pytest.mark.usefixtures("no_kubeflow")
NIGHTLY = ("--cron", "0 0 3 * * *")


def schedule(kfp: FakeKfp, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the schedule command; return what it reports."""
    assert run.main(["--host", kfp.host, *NIGHTLY, *arguments]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("schedule "))
    return line.removeprefix("schedule '0 0 3 * * *': ")


def enabled(kfp: FakeKfp) -> list[str]:
    return [s["recurring_run_id"] for s in kfp.schedules if s["status"] == "ENABLED"]


def existing(number: int, name: str, experiment: str = "e1") -> dict[str, str]:
    return {
        "recurring_run_id": f"x{number}", "display_name": name, "experiment_id": experiment,
        "status": "ENABLED",
    }  # fmt: skip


def test_the_same_command_twice_creates_one_schedule(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert schedule(kfp, capsys, "--param", "steps=500", "--param", "seed=1") == "created"
    assert schedule(kfp, capsys, "--param", "seed=1", "--param", "steps=500") == "already there"
    (created,) = kfp.schedules
    assert created["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert created["no_catchup"] is True
    assert created["runtime_config"]["parameters"] == {"steps": 500, "seed": 1}


@pytest.mark.parametrize("changed", [("--param", "steps=9"), ("--service-account", "robot"), ()])
def test_a_changed_command_replaces_the_schedule(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], changed: tuple[str, ...]
) -> None:
    schedule(kfp, capsys, "--param", "steps=500")
    assert schedule(kfp, capsys, *changed) == "created; 1 earlier disabled"
    assert enabled(kfp) == ["s2"]
    assert schedule(kfp, capsys, *changed) == "already there"
    assert len(kfp.schedules) == 2


def test_a_new_version_replaces_the_schedule(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule(kfp, capsys)
    compiling.compile_variant("cpu", tmp_path, image="registry.example.org/other-python:2")
    monkeypatch.setattr(upload, "BUILD", tmp_path)
    assert schedule(kfp, capsys) == "created; 1 earlier disabled"
    assert enabled(kfp) == ["s2"]
    assert kfp.log.index("POST /apis/v2beta1/recurringruns/s1:disable") > max(
        n for n, call in enumerate(kfp.log) if call == "POST /apis/v2beta1/recurringruns"
    ), "the earlier schedule must run until the new one exists"


def test_an_interrupted_replacement_is_completed(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    schedule(kfp, capsys)
    schedule(kfp, capsys, "--param", "steps=9")
    kfp.schedules[0]["status"] = "ENABLED"
    assert schedule(kfp, capsys, "--param", "steps=9") == "already there; 1 earlier disabled"
    assert enabled(kfp) == ["s2"]


def test_a_schedule_with_an_old_name_is_replaced(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.schedules = [existing(1, "tinyunet 0.1.0-cpu-0123456789ab 0 0 3 * * *")]
    assert schedule(kfp, capsys) == "created; 1 earlier disabled"


def test_other_schedules_stay_enabled(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    suffix = "0.1.0-cpu-0123456789ab 0 0 3 * * *"
    names = (
        "nightly",
        "tinyunet",
        "tinyunet 0.1.0-cpu-0123456789ab 0 0 4 * * *",
        f"tinyunet-classes {suffix}",
        f"tinyunet {suffix} (copy)",
        f"Clone of tinyunet {suffix}",
        f"other {suffix}",
    )
    kfp.schedules = [existing(n, name) for n, name in enumerate(names)]
    kfp.schedules.append(existing(9, f"tinyunet {suffix}", experiment="e2"))
    assert schedule(kfp, capsys) == "created"
    assert len(enabled(kfp)) == len(names) + 2


def test_the_name_of_a_pipeline_is_not_a_regular_expression(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.schedules = [existing(1, "tiny-unet 0.1.0-cpu-0123456789ab 0 0 3 * * *")]
    assert schedule(kfp, capsys, "--name", "tiny.unet") == "created"
    assert schedule(kfp, capsys, "--name", "tiny (C++)") == "created"
    assert schedule(kfp, capsys, "--name", "tiny (C++)", "--param", "seed=1") == "created; 1 earlier disabled"


def test_a_schedule_is_found_on_the_last_page(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.schedules = [existing(n, f"other {n}") for n in range(250)]
    schedule(kfp, capsys)
    assert schedule(kfp, capsys) == "already there"
    assert schedule(kfp, capsys, "--param", "steps=9") == "created; 1 earlier disabled"
