"""The subcommands for developers and operators."""

from pathlib import Path

import pytest

from tinyunet.bench.scaling import table
from tinyunet.cli.main import main
from tinyunet.mpijob.example import manifest


def test_a_port_that_is_not_a_number_in_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYUNET_MLFLOW_PORT", "70000")
    assert main(["services", "start"]) == 2
    assert "TINYUNET_MLFLOW_PORT is '70000'; expected a port, 1 to 65535" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_stopping_services_that_do_not_run_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["services", "stop"]) == 0
    assert capsys.readouterr().out == "stopped: nothing ran\n"


def test_mpijob_prints_the_manifest_for_a_registry_and_a_tag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mpijob", "--registry", "registry.example.org", "--tag", "7"]) == 0
    assert capsys.readouterr().out == manifest("registry.example.org", "7")
    assert main(["mpijob", "--gpu", "--registry", "registry.example.org", "--tag", "7"]) == 0
    assert capsys.readouterr().out == manifest("registry.example.org", "7", gpu=True)


def test_scaling_prints_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scaling"]) == 0
    assert capsys.readouterr().out == "\n\n".join(table()) + "\n"
    assert main(["scaling", "--step-ms", "20", "--start-s", "60"]) == 0
    assert capsys.readouterr().out == "\n".join(table({"your step": 0.02}, start_s=60)) + "\n"


@pytest.mark.parametrize(("option", "value"), [("step-ms", "0"), ("step-ms", "-1"), ("start-s", "-1")])
def test_a_step_without_duration_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scaling", f"--{option}={value}"]) == 2
    assert f"{option} is {float(value)}; expected" in capsys.readouterr().err


def test_an_unknown_row_of_the_ablation_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablation", "synthetic://", "--row", "no loss"]) == 2
    assert "row is 'no loss'; expected one of: rotations and zooms;" in capsys.readouterr().err
