"""`tinyunet doctor` names each problem and its remedy."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tinyunet.devtools import doctor

ROOT = Path(__file__).parents[3]


def test_the_command_lists_all_checks_and_exits_with_1_if_one_fails(python: str) -> None:
    env = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    command = [python, "-m", "tinyunet", "doctor"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    checks = [line for line in lines if not line.startswith(" ")]
    names = "Python TensorFlow devices Horovod mpirun disk memory settings MLflow S3 S3 Kubernetes Chromium"
    assert [line.split()[1].rstrip(":") for line in checks] == names.split()
    failed = (
        "fail  MLflow: MLFLOW_TRACKING_URI is http://127.0.0.1:9, which does not answer (ConnectionError)"
    )
    assert [line for line in checks if line.startswith("fail")] == [failed]
    assert lines[lines.index(failed) + 1].strip().startswith("-> start it (make services)")


def test_the_known_variables_are_those_that_the_code_reads() -> None:
    files = [p for folder in ("components", "pipeline", "docker", "k8s") for p in (ROOT / folder).rglob("*")]
    files += [ROOT / "Makefile"]
    text = "".join(p.read_text() for p in files if p.is_file() and p.suffix in (".py", ".sh", ".yaml", ""))
    assert set(re.findall(r"TINYUNET_[A-Z][A-Z_]*", text)) == doctor.KNOWN_VARIABLES


def test_a_misspelt_variable_is_reported_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYUNET_CASHE", "/x")
    check = doctor.settings()
    assert (check.status, check.detail) == ("warn", "unknown variables TINYUNET_CASHE")
    assert "TINYUNET_CACHE" in check.remedy


def test_tensorflow_and_horovod_that_do_not_load_are_reported_separately() -> None:
    def finished(out: str, err: str) -> doctor.Finished:
        return subprocess.CompletedProcess([], 1, stdout=out, stderr=err)

    no_tensorflow = finished("", "Traceback\nImportError: libfoo.so is missing")
    assert doctor.devices(no_tensorflow).status == "fail"
    assert "ImportError: libfoo.so is missing" in doctor.devices(no_tensorflow).detail
    no_horovod = finished("0 float32\n", "ImportError: undefined symbol")
    assert doctor.devices(no_horovod).status == "ok"
    assert doctor.horovod(no_horovod).status == "warn"
    assert "undefined symbol" in doctor.horovod(no_horovod).detail
    assert doctor.horovod(finished("0 float32\nFalse True\n", "")).detail.endswith("has no MPI")
