"""Real calls of make: a value of a variable reaches its program unchanged, and nothing of it is run.

The folder of a call has the Makefile and the scripts of the project, and a stub of Python that prints the
arguments of a program. Every value contains commands that would create the file `run`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.documents import ROOT

HOSTILE = (
    "$(shell touch run) ${shell touch run} $(touch run) `touch run` ; touch run # "
    "O'Brien \" \\ $x $$y & * |e\nz"
)
STUB = f"""#!{sys.executable}
import json, os, sys
if sys.argv[1:3] == ["-m", "tinyunet.devtools.arguments"]:
    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
print(json.dumps(sys.argv[1:]))
"""
MAKEFILE = (ROOT / "Makefile").read_text()
VARIABLES = re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)
WORDS = ("SET", "INGEST", "ARGS", "PARAM", "COMPILE", "TARGETS")  # the value is a list of words
TARGETS = [
    "run", "bench", "doctor", "ablation", "pipeline", "pipeline-upload", "pipeline-run", "pipeline-follow",
    "pipeline-schedule", "mpijob", "services", "deploy", "connect", "images", "ui", "serve", "test-cluster",
    "test-fleet", "test-others", "test-unit", "test-gpu",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (".ci/setup", ".venv/bin/python", "docker/images.sh", "k8s/deploy.sh", "k8s/connect.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "runs/services").mkdir(parents=True)
    (tmp_path / "runs/services/env").touch()
    (tmp_path / "runs/mlflow.db").touch()
    (tmp_path / "Makefile").symlink_to(ROOT / "Makefile")
    return tmp_path


def call(folder: Path, *arguments: str, **variables: str) -> tuple[int, list[list[str]]]:
    """Call make; return its exit code and the arguments of the programs, except those of `.ci/setup`."""
    outer = ("MAKE", "MFLAGS", "PYTHONPATH")
    own = {k: v for k, v in os.environ.items() if not k.startswith(outer) and k not in VARIABLES}
    done = subprocess.run(
        ["make", *arguments], cwd=folder, env=own | variables, capture_output=True, text=True, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return done.returncode, [line for line in lines if line]


def test_no_recipe_expands_a_variable_of_a_user() -> None:
    recipes = "\n".join(line for line in MAKEFILE.splitlines() if not line.startswith("#:"))
    assert [name for name in VARIABLES if re.search(rf"(?<!\$)\$[({{]{name}\b", recipes)] == []
    exported = re.findall(r"^variables := (.+?[^\\])$", MAKEFILE, re.MULTILINE | re.DOTALL)[0]
    assert sorted(exported.replace("\\", "").split()) == sorted(VARIABLES)
    assert "\nexport $(variables) $(given)\n" in MAKEFILE


@pytest.mark.parametrize("target", TARGETS)
def test_make_runs_nothing_of_a_value(target: str, folder: Path) -> None:
    values = {name: HOSTILE for name in VARIABLES if name not in WORDS}
    values |= dict.fromkeys(WORDS, "$(shell touch run);touch$IFS'run' '`touch run`'")
    code, programs = call(folder, target, *(f"{name}={value}" for name, value in values.items()))
    if target == "mpijob":
        programs = [json.loads((folder / "k8s/mpijob.yaml").read_text())]
    assert (code, bool(programs)) == (0, True)
    assert not list(folder.rglob("run"))
    if target == "run":
        assert f"--source={HOSTILE}" in programs[-1]
        assert "--set=$(shell" in programs[-1]
    elif target == "connect":
        assert programs[-1] == [HOSTILE] * 3


def test_values_of_the_environment_are_not_run_either(folder: Path) -> None:
    code, programs = call(folder, "run", **dict.fromkeys(("DATA", "SERVICES", "CLASS"), HOSTILE))
    assert code == 0
    assert not list(folder.rglob("run"))
    assert programs[-1][:4] == ["-m", "pipeline.run_local", f"--source={HOSTILE}", f"--class-id={HOSTILE}"]


def test_an_empty_value_is_passed_where_it_is_an_error_and_left_out_elsewhere(folder: Path) -> None:
    assert "--source=" in call(folder, "run", "DATA=")[1][-1]
    assert not any("--host" in word for word in call(folder, "pipeline-upload", "HOST=")[1][-1])


def test_a_variable_with_a_wrong_name_is_refused_and_one_of_the_environment_is_not(folder: Path) -> None:
    assert call(folder, "run", "STEP=20") == (2, [])
    assert call(folder, "run", "MLFLOW_TRACKING_URI=http://127.0.0.1:5000", STEP="20")[0] == 0


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "TIMEOUT", "HOME", "PYTHONPATH", "no_proxy"])
def test_a_variable_of_the_environment_reaches_the_programs_unchanged(name: str, folder: Path) -> None:
    program = folder / ".venv/bin/python"
    program.write_text(f"#!{sys.executable}\nimport json, os\nprint(json.dumps([os.environ[{name!r}]]))\n")
    assert call(folder, "doctor", f"{name}={HOSTILE}") == (0, [[HOSTILE]])


def test_parameters_of_a_run_on_kubeflow_may_be_urls(folder: Path) -> None:
    values = "source=synthetic://?train=60&test=40 steps=20 'overrides=ema: 0.2'"
    program = call(folder, "pipeline-run", f"PARAM={values}", "ARGS=--no-follow")[1][-1]
    assert program[-4:] == [
        "--param=source=synthetic://?train=60&test=40",
        "--param=steps=20",
        "--param=overrides=ema: 0.2",
        "--no-follow",
    ]


@pytest.mark.parametrize(
    ("script", "variables", "error"),
    [
        (["k8s/deploy.sh", "local"], {"TAG": "1|e; touch run"}, "deploy: TAG is '1|e; touch run'; expected"),
        (["k8s/deploy.sh", "local"], {"TENANTS": "no"}, "deploy: TENANTS is 'no'; expected true"),
        (["k8s/deploy.sh", "local"], {"REGISTRY": "https://x y"}, "deploy: REGISTRY is 'https://x y'; exp"),
        (
            ["k8s/connect.sh", "n", "http://a\nkind: b"],
            {},
            "connect: STORE is $'http://a\\nkind: b'; expected",
        ),
        (["k8s/connect.sh", "n", "", "a: b"], {}, "connect: REGION is 'a: b'; expected letters"),
    ],
)
def test_the_scripts_of_the_cluster_refuse_values_that_would_change_a_manifest(
    script: list[str], variables: dict[str, str], error: str
) -> None:
    environment = os.environ | {"KUBECTL": "false"} | variables
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[: len(error)]) == (2, error)
