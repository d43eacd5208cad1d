"""README and the pages of the folders: links and tables are right, and marked blocks run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import generated_tables
from tests.repository.documents import (
    PAGES,
    ROOT,
    SEPARATOR,
    Block,
    anchors,
    blocks,
    links,
    name_of,
    prose,
    tables,
)

README = ROOT / "README.md"
README_LINES = 150
LONG_PAGE = 120  # lines; a longer page has a table of contents


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= README_LINES


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
def test_a_long_page_of_a_folder_links_to_all_its_sections(page: Path) -> None:
    if page != README and len(page.read_text().splitlines()) > LONG_PAGE:
        assert anchors(page, level="##") <= {anchor for path, anchor in links(page) if not path}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_lines_of_running_text_are_short(page: Path) -> None:
    """Except tables and pictures, whose lines cannot be broken."""
    lines = enumerate(prose(page).splitlines(), start=1)
    assert [n for n, line in lines if len(line) > 140 and not line.startswith(("|", "!["))] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_are_shown_as_tables(page: Path) -> None:
    """A table needs a separator, rows of one length, and an empty line above and below."""
    lines = ["", *prose(page).splitlines(), ""]
    rows = [i for i, line in enumerate(lines) if line.startswith("|")]
    first = [i for i in rows if not lines[i - 1].startswith("|")]
    last = [i for i in rows if not lines[i + 1].startswith("|")]
    assert [lines[i] for i in first if not SEPARATOR.fullmatch(lines[i + 1].strip())] == []
    assert [lines[i] for i in first if lines[i - 1]] + [lines[i] for i in last if lines[i + 1]] == []
    assert [table[0] for table in tables(page) if len({len(row) for row in table}) > 1] == []


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


@pytest.mark.usefixtures("eager_processes")
def test_the_marked_blocks_of_the_pages_run(tmp_path: Path, python: str) -> None:
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
    runner = [python, "-m", "tests.repository.block_runner", str(tmp_path / "jobs.json")]
    done = subprocess.run(runner, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for number, block in expected.items():
        assert (tmp_path / f"{number}.txt").read_text() == block.text, str(block)
