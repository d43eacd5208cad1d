"""Fixtures: the servers, the images in MinIO, and one undisturbed run."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.checks import state
from tests.faults.clock import Clock, compiled
from tests.faults.runs import Example
from tests.faults.servers import Servers, servers
from tests.prepared_python import serving
from tests.services.conftest import upload
from tinyunet.devtools.services import _environment_set

NOTHING = ("unfinished files", "temporary files", "unfinished uploads", "checkpoints", "queue")
SOURCE = "s3://tinyunet/dagm"


@dataclass(frozen=True)
class Undisturbed:
    """A run without a fault: what it left, and how long its tasks took in seconds."""

    state: dict[str, object]
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    from tinyunet.data.synthetic.generator import generate, parse_source

    folder = tmp_path_factory.mktemp("servers")
    with servers(folder) as started, _environment_set(started.env):
        generate(folder / "Class1", 1, parse_source("synthetic://?train=24&test=16&size=32&seed=7"))
        for part in ("Train", "Test"):
            upload(folder / "Class1" / part, f"{SOURCE}/Class1/{part}")
        yield started


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    """The clock of the commands and of their ranks, but not of the servers."""
    return compiled(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="session")
def python(clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The prepared Python of all suites, with this clock."""
    with serving(tmp_path_factory.mktemp("python"), clock.environment) as program:
        yield program


@pytest.fixture(scope="session")
def undisturbed(
    running: Servers, clock: Clock, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    example = Example(folder / "run", "undisturbed", running, python, SOURCE, clock)
    example.folder.mkdir()
    code = example.measure()
    assert code == 0, example.folder.with_suffix(".output").read_text()[-3000:]
    print(f"undisturbed: { ({name: round(value, 1) for name, value in example.seconds.items()}) }")
    found = state(example)
    assert [found[name] for name in NOTHING] == [[]] * len(NOTHING)
    return Undisturbed(found, example.seconds)


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """The folder of the examples, which is short: Open MPI keeps sockets below TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
