"""What the pages name exists in the code: files, environment variables, packages and messages."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.repository.documents import PAGES, ROOT, documented_variables, name_of, prose, tables
from tests.repository.test_architecture import ORDER
from tinyunet.devtools.doctor import KNOWN_VARIABLES

FOLDERS = ("components/", "pipeline/", "k8s/", "docker/", "tests/", ".ci/", ".github/")
SUFFIXES = (".py", ".yaml", ".sh", ".md", ".lock", ".svg", ".toml")
MADE = ("pipeline/build/", "runs/")  # by commands
ERROR_TABLES = ("what you see", "what the launcher reports")
OF_KUBERNETES = {"Unschedulable", "exceeded quota"}  # words that the launcher passes on


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_in_running_text_exist(page: Path) -> None:
    """A path counts from the root of the repository or from the folder of its page."""
    spans = re.findall(r"`([\w.-]+/[\w./-]*)`", prose(page))
    paths = [path for path in spans if path.startswith(FOLDERS) or path.endswith(SUFFIXES)]
    assert [path for path in paths if not path.startswith(MADE) and not exists(path, page)] == []


def exists(path: str, page: Path) -> bool:
    return any((folder / path).exists() for folder in (ROOT, page.parent))


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
    reads = r"(?:environ(?:\.get)?[\[(]|read_credential\()\s*\"([A-Z][A-Z0-9_]+)\"(?!\] = )"
    read = set(re.findall(reads, sources()))
    assert read - documented_variables() == set()
    assert {name for name in documented_variables() if name not in sources()} == set()


def test_the_table_of_packages_has_the_order_of_imports() -> None:
    found = [table for page in PAGES for table in tables(page) if table[0][0] == "package"]
    assert [tuple(row[0].strip("`") for row in table[1:]) for table in found] == [ORDER]


def errors() -> list[str]:
    """Return the messages in the tables of errors: what is marked as code, or else the whole cell."""
    found = [table for page in PAGES for table in tables(page) if table[0][0] in ERROR_TABLES]
    cells = [row[0] for table in found for row in table[1:]]
    return [text for cell in cells for text in re.findall(r"`(.+?)`", cell) or [cell] if "make" not in text]


@cache
def messages() -> str:
    """Return all texts of the code; a value inside a text becomes `…`."""
    texts = [
        path.read_text() for path in (*(ROOT / "k8s").glob("*.sh"), ROOT / ".ci/setup", ROOT / "Makefile")
    ]
    for path in (*(ROOT / "components").rglob("*.py"), *(ROOT / "pipeline").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(p.value if isinstance(p, ast.Constant) else "…" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def in_code(text: str) -> bool:
    """Whether the code has a text, or two texts that together are this one."""
    spaces = (match.start() for match in re.finditer(" ", text))
    halves = [(text[:i], text[i + 1 :]) for i in spaces if min(i, len(text) - i) > 4]
    return text in messages() or any(a in messages() and b in messages() for a, b in halves)


@pytest.mark.parametrize("error", errors())
def test_messages_in_the_tables_of_errors_are_those_of_the_code(error: str) -> None:
    parts = re.split(r"…|\d+|MPIJob|; expected |: |\(|\)|, | or ", error)
    texts = {part for part in map(str.strip, parts) if len(part) > 8} - OF_KUBERNETES
    assert {text for text in texts if not in_code(text)} == set()
