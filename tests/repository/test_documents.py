"""README and the pages in the folders: their links, tables and commands are right."""

import contextlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.repository import generated_tables
from tests.repository.documents import (
    ROOT,
    SEPARATOR,
    Block,
    Command,
    anchors,
    blocks,
    commands,
    links,
    pages,
    prose,
    tables,
)
from tinyunet.cli.main import parse
from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.devtools.doctor import KNOWN_VARIABLES

README_LINES = 150
LONG_PAGE = 120  # lines from which on a page begins with a table of contents
PAGES = pages()
COMMANDS = [command for page in PAGES for command in commands(page)]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {
    name for line in re.findall(r"^([a-z][a-z -]*):(?!=)", MAKEFILE, re.MULTILINE) for name in line.split()
}
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
SETTINGS = {"train": TrainConfig, "convert": DataConfig, "evaluate": EvalConfig}
# The program that a target hands ARGS (`pipeline`: COMPILE) to.
PROGRAMS = {
    "run": "pipeline.run_local",
    "pipeline": "pipeline.compile",
    "pipeline-upload": "pipeline.upload",
    "pipeline-run": "pipeline.run",
    "pipeline-schedule": "pipeline.run",
    "bench": "tinyunet bench",
    "ablation": "tinyunet ablation",
    "doctor": "tinyunet doctor",
}
FOREIGN_PROGRAMS = {"test-cluster": "pytest", "test-others": "pytest", "test-unit": "pytest"}
FOLDERS = ("components/", "pipeline/", "k8s/", "docker/", "tests/", ".ci/", ".github/")
SUFFIXES = (".py", ".yaml", ".sh", ".md", ".lock", ".svg", ".toml")
MADE = ("pipeline/build/", "runs/")  # by commands
ASSIGNABLE = {"PATH", "KUBECONFIG"}  # by a shell, for programs that are not ours


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def of_tool(tool: str) -> list[Command]:
    return [command for command in COMMANDS if command.words and command.words[0] == tool]


def identity(command: Command) -> str:
    return f"{command.place} {' '.join(command.words)}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_every_folder_that_readme_names_has_a_page() -> None:
    folders = ("pipeline", "k8s", "docker", "components/tinyunet", "components/tinyunet/bench", "tests")
    assert {f"{folder}/README.md" for folder in folders} <= {name_of(page) for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_to_a_heading(page: Path) -> None:
    wrong = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            wrong.append(f"{path}: no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{path}#{anchor}: no such heading")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_long_page_begins_with_links_to_its_sections(page: Path) -> None:
    text = page.read_text()
    sections = re.findall(r"^## (.+)$", prose(page), re.MULTILINE)
    if (
        page.name in ("README.md", "RESULTS.md")
        and len(text.splitlines()) > LONG_PAGE
        and page.parent != ROOT
    ):
        linked = {anchor for path, anchor in links(page) if not path}
        assert {
            slug for slug in anchors(page) if slug.replace("-", "") in {_plain(s) for s in sections}
        } <= linked


def _plain(title: str) -> str:
    return re.sub(r"[\W_]", "", title.lower())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_have_rows_of_one_length_below_a_separator(page: Path) -> None:
    """GitHub shows a table without a separator as text, and cuts rows that are too long."""
    lines = [*prose(page).splitlines(), ""]
    first = [
        i
        for i, line in enumerate(lines)
        if line.startswith("|") and (i == 0 or not lines[i - 1].startswith("|"))
    ]
    assert [lines[i] for i in first if not SEPARATOR.fullmatch(lines[i + 1].strip())] == []
    assert [
        lines[i] for i in first if i and lines[i - 1].strip()
    ] == []  # text directly above swallows a table
    assert [rows[0] for rows in tables(page) if len({len(row) for row in rows}) > 1] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_in_running_text_exist(page: Path) -> None:
    """A path counts from the root of the repository or from the folder of its page."""
    spans = re.findall(r"`([\w.-]+/[\w./-]*)`", prose(page))
    paths = [path for path in spans if path.startswith(FOLDERS) or path.endswith(SUFFIXES)]
    assert [path for path in paths if not path.startswith(MADE) and not exists(path, page)] == []


def exists(path: str, page: Path) -> bool:
    return any((folder / path).exists() for folder in (ROOT, page.parent))


@pytest.mark.parametrize("page", generated_tables.marked(), ids=name_of)
def test_generated_tables_equal_the_code(page: Path) -> None:
    """`python -m tests.repository.generated_tables` renews them."""
    assert page.read_text() == generated_tables.renewed(page.read_text())


def test_every_generated_table_is_in_a_page() -> None:
    found = {
        m["name"]
        for text in generated_tables.marked().values()
        for m in generated_tables.MARKED.finditer(text)
    }
    assert found == set(generated_tables.TABLES)


def documented_variables() -> set[str]:
    """Return the environment variables in the first column of every table that is headed `variable`."""
    rows = [row for page in PAGES for table in tables(page) if table[0][0] == "variable" for row in table[1:]]
    return {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row[0])}


def sources() -> str:
    files = [
        ROOT / "Makefile",
        ROOT / ".ci/setup",
        *(ROOT / "docker").glob("*.sh"),
        *(ROOT / "k8s").glob("*.sh"),
    ]
    files += [*(ROOT / "components").rglob("*.py"), *(ROOT / "pipeline").glob("*.py")]
    return "\n".join(path.read_text() for path in files)


def test_the_pages_name_the_projects_own_environment_variables_and_no_others() -> None:
    assert {name for name in documented_variables() if name.startswith("TINYUNET_")} == KNOWN_VARIABLES


def test_the_pages_name_every_environment_variable_that_the_code_reads() -> None:
    reads = r"environ(?:\.get)?[\[(]\s*\"([A-Z][A-Z0-9_]+)\"(?!\] = )"
    read = set(re.findall(reads, sources()))
    assert read - documented_variables() == set()
    assert {name for name in documented_variables() if name not in sources()} == set()


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
    for target in targets if {"ARGS", "COMPILE"} & set(values) else ():
        words = tuple(f"{values.get('ARGS', '')} {values.get('COMPILE', '')}".split())
        assert target in PROGRAMS | FOREIGN_PROGRAMS
        if target in PROGRAMS:
            assert unknown_options(words, PROGRAMS[target]) == []
        parameters = [value for word, value in pairwise(words) if word == "--param"]
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


def test_variables_that_commands_set_are_known() -> None:
    known = VARIABLES | documented_variables() | ASSIGNABLE
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


def marked_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.marker]


def substituted(block: Block) -> str:
    """Return the text of a block with the substitutions of its marker: lines `A => B` below `run`."""
    text = block.text
    for line in block.marker.splitlines()[1:]:
        old, arrow, new = line.partition(" => ")
        assert arrow, f"{block}: expected A => B: {line}"
        assert old in text, f"{block}: nothing to substitute for: {line}"
        text = text.replace(old, new)
    return text


def test_the_marked_blocks_of_the_pages_run(tmp_path: Path) -> None:
    """`<!-- test: run -->` above a block; `<!-- test: output -->` above the output of the block before it."""
    jobs, expected = [], {}
    for block in marked_blocks():
        verb = block.marker.splitlines()[0]
        assert verb in ("run", "output"), f"{block}: {verb}"
        if verb == "output":
            expected[len(jobs) - 1] = block
            continue
        folder = tmp_path / name_of(block.page.parent).replace("/", "-")
        folder.mkdir(exist_ok=True)
        jobs.append(
            {
                "place": str(block),
                "folder": str(folder),
                "language": block.language,
                "text": substituted(block),
            }
        )
    assert len(jobs) >= 3
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "S3_", "TINYUNET_"))}
    own |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TF_CPP_MIN_LOG_LEVEL": "2"}
    runner = [sys.executable, str(Path(__file__).with_name("block_runner.py")), str(tmp_path / "jobs.json")]
    done = subprocess.run(runner, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for number, block in expected.items():
        assert (tmp_path / f"{number}.txt").read_text() == block.text, str(block)
