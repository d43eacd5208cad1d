"""Scheduling on Kubeflow: one schedule of a pipeline, experiment and cron, which a later one replaces."""

from pathlib import Path

import pytest
from fake_kfp import FakeKfp

from pipeline import compile as compiling
from pipeline import run, upload

pytestmark = pytest.mark.usefixtures("stranger")
NIGHTLY = ("--cron", "0 0 3 * * *")


def schedule(kfp: FakeKfp, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Schedule; give the line that says what happened."""
    assert run.main(["--host", kfp.host, *NIGHTLY, *arguments]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("schedule "))
    return line.removeprefix("schedule '0 0 3 * * *': ")


def enabled(kfp: FakeKfp) -> list[str]:
    return [s["recurring_run_id"] for s in kfp.schedules if s["status"] == "ENABLED"]


def stranger(number: int, name: str, experiment: str = "e1") -> dict[str, str]:
    return {
        "recurring_run_id": f"x{number}", "display_name": name, "experiment_id": experiment,
        "status": "ENABLED",
    }  # fmt: skip


def test_the_same_command_twice_makes_one_schedule(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    assert schedule(kfp, capsys, "--param", "steps=500", "--param", "seed=1") == "created"
    assert schedule(kfp, capsys, "--param", "seed=1", "--param", "steps=500") == "already there"
    (made,) = kfp.schedules
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert made["no_catchup"] is True
    assert made["runtime_config"]["parameters"] == {"steps": 500, "seed": 1}


@pytest.mark.parametrize("changed", [("--param", "steps=9"), ("--service-account", "mine"), ()])
def test_a_changed_command_takes_the_place_of_the_schedule(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], changed: tuple[str, ...]
) -> None:
    schedule(kfp, capsys, "--param", "steps=500")
    assert schedule(kfp, capsys, *changed) == "created; 1 earlier disabled"
    assert enabled(kfp) == ["s2"]
    assert schedule(kfp, capsys, *changed) == "already there"
    assert len(kfp.schedules) == 2


def test_a_new_version_takes_the_place_of_the_schedule(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule(kfp, capsys)
    compiling.compile_variant("cpu", tmp_path, image="registry.example.org/other-python:2")
    monkeypatch.setattr(upload, "BUILD", tmp_path)
    assert schedule(kfp, capsys) == "created; 1 earlier disabled"
    assert enabled(kfp) == ["s2"]
    assert kfp.log.index("POST /apis/v2beta1/recurringruns/s1:disable") > max(
        n for n, call in enumerate(kfp.log) if call == "POST /apis/v2beta1/recurringruns"
    ), "a night without any schedule would be lost"


def test_a_replacement_that_was_cut_short_is_finished(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule(kfp, capsys)
    schedule(kfp, capsys, "--param", "steps=9")
    kfp.schedules[0]["status"] = "ENABLED"
    assert schedule(kfp, capsys, "--param", "steps=9") == "already there; 1 earlier disabled"
    assert enabled(kfp) == ["s2"]


def test_a_schedule_named_without_its_parameters_is_one_of_ours(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.schedules = [stranger(1, "tinyunet 0.1.0-cpu-0123456789ab 0 0 3 * * *")]
    assert schedule(kfp, capsys) == "created; 1 earlier disabled"


def test_what_others_made_and_what_has_another_time_or_place_stays(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = "0.1.0-cpu-0123456789ab 0 0 3 * * *"
    names = ("nightly", "tinyunet", f"Clone of tinyunet {ours}", f"tinyunet {ours} (mine)", f"other {ours}",
             "tinyunet 0.1.0-cpu-0123456789ab 0 0 4 * * *", f"tinyunet-classes {ours}")  # fmt: skip
    kfp.schedules = [stranger(n, name) for n, name in enumerate(names)]
    kfp.schedules.append(stranger(9, f"tinyunet {ours}", experiment="e2"))
    assert schedule(kfp, capsys) == "created"
    assert len(enabled(kfp)) == len(names) + 2


def test_a_pipelines_name_is_no_pattern(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.schedules = [stranger(1, "tiny-unet 0.1.0-cpu-0123456789ab 0 0 3 * * *")]
    assert schedule(kfp, capsys, "--name", "tiny.unet") == "created"
    assert schedule(kfp, capsys, "--name", "tiny (C++)") == "created"
    assert schedule(kfp, capsys, "--name", "tiny (C++)", "--param", "seed=1") == "created; 1 earlier disabled"


def test_ours_is_found_behind_many_others(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.schedules = [stranger(n, f"other {n}") for n in range(250)]
    schedule(kfp, capsys)
    assert schedule(kfp, capsys) == "already there"
    assert schedule(kfp, capsys, "--param", "steps=9") == "created; 1 earlier disabled"
