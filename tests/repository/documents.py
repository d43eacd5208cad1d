"""The Markdown pages of the project: their blocks, anchors, links, tables and commands."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEMPLATES = "templates"  # Jinja templates in Markdown are no pages
FENCE = re.compile(r"^( *)(```+)(\w*)\s*$")
SHELL = {"", "sh", "bash"}
HEADING = re.compile(r"^(?P<level>#{1,6}) +(?P<title>.+?) *#*$")
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
MARKER = re.compile(r"<!-- test: (?P<text>(?:(?!-->).)*?)\s*-->\n\Z", re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
SEPARATOR = re.compile(r"\|(?: *:?-+:? *\|)+")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page.
        line: Number of its first line.
        language: The word after the opening fence; empty without one.
        text: The lines between the fences.
        marker: The text of the comment `<!-- test: … -->` directly above; empty without one.
    """

    page: Path
    line: int
    language: str
    text: str
    marker: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A simple command of a page.

    Attributes:
        place: Page and line.
        words: The command's words, without assignments before them.
        assigned: Names of the variables that are assigned before the command or exported by it.
        whole: Whether it is written to be run as it is, in a block; in running text it may be shortened.
    """

    place: str
    words: tuple[str, ...]
    assigned: tuple[str, ...]
    whole: bool


def pages() -> list[Path]:
    """Return all pages that git tracks or would track, except templates and the files of an early version."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in sorted(filter(None, names))]
    excluded = {TEMPLATES, "version-0.1.0"}
    return [path for path in paths if excluded.isdisjoint(path.parts) and path.is_file()]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    found, opening, start = [], None, 0
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        fence = FENCE.match(line)
        if opening is None:
            opening, start = fence, number
        elif fence and fence[2] == opening[2] and not fence[3]:
            above = MARKER.search("".join(lines[: start - 1]))
            text = "".join(lines[start : number - 1])
            found.append(Block(page, start + 1, opening[3], text, above["text"] if above else ""))
            opening = None
    if opening:
        raise ValueError(f"{page}:{start}: a block that is not closed")
    return found


def prose(page: Path) -> str:
    """Return the text of a page outside its blocks, with as many lines as the page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        for number in range(block.line - 1, block.line + block.text.count("\n") + 1):
            lines[number - 1] = ""
    return "\n".join(lines)


def anchors(page: Path, level: str = "") -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page, or to those of one level (`##`)."""
    found: dict[str, str] = {}
    for line in prose(page).splitlines():
        if heading := HEADING.match(line):
            title = LINK.sub(lambda link: link["text"], heading["title"]).lower()
            base = re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-")
            count = sum(re.fullmatch(rf"{re.escape(base)}(-\d+)?", name) is not None for name in found)
            found[f"{base}-{count}" if count else base] = heading["level"]
    return {name for name, of in found.items() if level in ("", of)}


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield path and anchor of every link to this repository; an empty path is the page itself."""
    for link in LINK.finditer(re.sub(SPAN, "", prose(page))):
        if not re.match(r"[a-z]+:", link["target"]):
            path, _, anchor = link["target"].partition("#")
            yield path, anchor


def tables(page: Path) -> list[list[list[str]]]:
    """Return the cells of every table of a page, row by row, the separator left out."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]])
        elif rows:
            found.append(rows)
            rows = []
    return [[row for row in rows if not SEPARATOR.fullmatch("|" + "|".join(row) + "|")] for rows in found]


def commands(page: Path) -> Iterator[Command]:
    """Yield every command of a page, in its blocks and in its running text."""
    for block in blocks(page):
        if block.language in SHELL:
            for number, line in _logical_lines(block):
                yield from _split(line, f"{page.relative_to(ROOT)}:{number}", whole=True)
    for number, line in enumerate(prose(page).splitlines(), start=1):
        for span in SPAN.findall(line):
            if re.match(r"(tinyunet|make|kubectl|python -m|docker/\w+\.sh|[A-Z_]+=\S+ make)\b", span):
                yield from _split(span, f"{page.relative_to(ROOT)}:{number}", whole=False)


def _logical_lines(block: Block) -> Iterator[tuple[int, str]]:
    """Yield the lines of a block; a line that ends in a backslash goes on in the next one."""
    pending = ""
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        pending += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield number, pending
            pending = ""


def _split(line: str, place: str, *, whole: bool) -> Iterator[Command]:
    """Split a line at `;`, `&&` and `|` into simple commands."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set(";&|"):
            words.append(word)
        elif words:
            yield _command(words, place, whole=whole)
            words = []


def _command(words: list[str], place: str, *, whole: bool) -> Command:
    assigned = []
    exported = words[0] == "export"
    rest = words[1:] if exported else words
    while rest and (name := re.match(r"([A-Za-z_]\w*)=", rest[0])):
        assigned.append(name[1])
        rest = rest[1:]
    return Command(place, tuple(rest), tuple(assigned), whole)


def documented_variables() -> set[str]:
    """Return the environment variables in the first column of every table that is headed `variable`."""
    rows = [row for page in PAGES for table in tables(page) if table[0][0] == "variable" for row in table[1:]]
    return {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row[0])}


def name_of(page: Path) -> str:
    """Return the path of a page from the root of the repository."""
    return str(page.relative_to(ROOT))


PAGES = pages()
