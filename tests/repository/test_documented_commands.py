"""The commands in the pages: programs, options, targets, variables and files exist. None is run."""

import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest

from tests.repository import generated_tables
from tests.repository.documents import PAGES, ROOT, Command, commands, documented_variables
from tinyunet.cli.main import parse
from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig

COMMANDS = [command for page in PAGES for command in commands(page)]
MAKEFILE = (ROOT / "Makefile").read_text()
RULES = re.findall(r"^([a-z][a-z -]*):(?!=)", MAKEFILE, re.MULTILINE)
TARGETS = {name for rule in RULES for name in rule.split()}
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
SETTINGS = {"train": TrainConfig, "convert": DataConfig, "evaluate": EvalConfig}
# The program to which a target passes ARGS (`pipeline`: COMPILE).
PROGRAMS = {
    "run": "pipeline.run_local",
    "pipeline": "pipeline.compile",
    "pipeline-upload": "pipeline.upload",
    "pipeline-run": "pipeline.run",
    "pipeline-schedule": "pipeline.run",
    "serve": "tinyunet serve",
    "bench": "tinyunet bench",
    "test-gpu": "tinyunet gpu",
    "ablation": "tinyunet ablation",
    "doctor": "tinyunet doctor",
}
PYTEST = {"test-cluster", "test-fleet", "test-others", "test-unit"}
OF_THE_SHELL = {
    "FAULTS",  # read by tests/faults/driver.py
    "FAULT_SEED",  # read by tests/faults/driver.py
    "TERMINATIONS",  # read by tests/cluster/test_terminations.py
    "LOAD_SECONDS",  # read by tests/cluster/test_serving.py
    "PATH",
    "KUBECONFIG",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD",
}  # for programs that are not ours


def of_tool(tool: str) -> list[Command]:
    return [command for command in COMMANDS if command.words and command.words[0] == tool]


def identity(command: Command) -> str:
    return f"{command.place} {' '.join(command.words)}"


@cache
def help_of(program: str) -> str:
    """Return what `--help` of `tinyunet COMMAND` or of a module of the pipeline prints."""
    name, *words = program.split()
    main = parse if name == "tinyunet" else importlib.import_module(name).main
    with contextlib.redirect_stdout(io.StringIO()) as output, pytest.raises(SystemExit):
        main([*words, "--help"])
    assert output.getvalue().startswith("usage: "), program
    return output.getvalue()


def unknown_options(words: tuple[str, ...], program: str) -> list[str]:
    known = set(re.findall(r"--[a-z][a-z-]*", help_of(program)))
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


def unknown_settings(pairs: list[str], config: Callable[[], object]) -> list[str]:
    return [pair for pair in pairs if not hasattr(config(), pair.partition("=")[0])]


@pytest.mark.parametrize("command", of_tool("tinyunet"), ids=identity)
def test_every_tinyunet_command_exists_with_its_options(command: Command) -> None:
    words = command.words[1:]
    if not words or words[0].startswith("-") or words[0].isupper():
        return
    assert unknown_options(words, f"tinyunet {words[0]}") == []
    pairs = [value for word, value in pairwise(words) if word == "--set"]
    assert unknown_settings(pairs, SETTINGS.get(words[0], TrainConfig)) == []
    if command.whole:
        parse([word.replace("…", "1") for word in words])


def make_arguments(command: Command) -> tuple[list[str], dict[str, str]]:
    """Return the targets of a `make` command, and the variables that it sets."""
    values = dict(word.partition("=")[::2] for word in command.words[1:] if "=" in word)
    return [word for word in command.words[1:] if "=" not in word and word != "…"], values


@pytest.mark.parametrize("command", of_tool("make"), ids=identity)
def test_every_make_target_exists_with_its_variables(command: Command) -> None:
    targets, values = make_arguments(command)
    assert [target for target in targets if target not in TARGETS] == []
    assert set(values) - VARIABLES - documented_variables() == set()
    assert unknown_settings(values.get("SET", "").split(), TrainConfig) == []
    for target in targets if {"ARGS", "COMPILE", "PARAM"} & set(values) else ():
        words = tuple(f"{values.get('ARGS', '')} {values.get('COMPILE', '')}".split())
        assert target in PROGRAMS.keys() | PYTEST
        if target in PROGRAMS:
            assert unknown_options(words, PROGRAMS[target]) == []
        parameters = [value for word, value in pairwise(words) if word == "--param"]
        parameters += shlex.split(values.get("PARAM", ""))
        known = generated_tables.pipeline_parameters()
        assert [p for p in parameters if f"`{p.partition('=')[0]}`" not in known] == []


@pytest.mark.parametrize("command", of_tool("make"), ids=identity)
def test_make_knows_what_to_do_for_every_command(command: Command) -> None:
    """A dry run of `make`; it prints the recipes and runs none."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    dry = ["make", "--dry-run", *(word for word in command.words[1:] if word != "…")]
    done = subprocess.run(dry, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_git_ignores_what_the_commands_write() -> None:
    after = [word for command in COMMANDS for before, word in pairwise(command.words) if before == "--out"]
    trace = parse(["trace", "models:/a@champion"]).out
    folders = sorted({f"{name}/" for name in [*after, str(trace)] if re.fullmatch(r"[a-z]+", name)})
    assert {"predictions/", "trace/"} <= set(folders)
    done = subprocess.run(["git", "check-ignore", *folders], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == folders


def test_variables_that_commands_set_are_known() -> None:
    known = VARIABLES | documented_variables() | OF_THE_SHELL
    wrong = [f"{c.place} {name}" for c in COMMANDS for name in c.assigned if name not in known]
    assert wrong == []


def test_scripts_modules_and_files_that_commands_name_exist() -> None:
    wrong = []
    for command in COMMANDS:
        words = command.words
        wrong += [
            identity(command)
            for w in words
            if re.match(r"(docker|k8s|\.ci|tests)/", w) and not (ROOT / w).exists()
        ]
        if words[:2] == ("python", "-m") and not words[2].startswith(("tinyunet", "pytest")):
            wrong += [] if (ROOT / f"{words[2].replace('.', '/')}.py").is_file() else [identity(command)]
    assert wrong == []
