"""One example of the fault driver: a folder of its own, in which the pipeline runs, and its processes."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.clock import Clock
from tests.faults.servers import Servers
from tests.pipeline.local_run import command, environment

STEPS, CHECKPOINT_EVERY, RANKS = 20, 5, 2
TASKS = ("ingest", "convert", "train", "evaluate", "register")
OPTIONS = (
    *("--image-size", "32", "--steps", str(STEPS), "--ranks", str(RANKS), "--category", "class1"),
    *("--set", "global_batch=4", "--set", "validate_every=10", "--set", "deterministic=True"),
    *("--set", f"checkpoint_every={CHECKPOINT_EVERY}"),
)
LIMIT_S = 400.0  # a command that takes longer counts as one that never ends
END_S = 15.0  # within this time all processes of a run have ended


@dataclass
class Example:
    """A folder, and the commands that run in it.

    Attributes:
        folder: Working folder of the commands; TMPDIR is a folder in it.
        name: Registered model and experiment, of this example alone.
        servers: MinIO and MLflow.
        python: Interpreter of all commands, see `tests.prepared_python`.
        source: Images of the pipeline.
        clock: Clock of the interpreter's processes.
        seconds: Duration of every task in the last complete command; `ranks` is that of the ranks.
    """

    folder: Path
    name: str
    servers: Servers
    python: str
    source: str
    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    def start(self) -> None:
        """Start the command; its output is in the file `output`."""
        for path in (self.tmp, self.folder / "runs"):
            path.mkdir(exist_ok=True)
        env = (
            environment() | self.servers.env | {"TMPDIR": str(self.tmp), "MLFLOW_EXPERIMENT_NAME": self.name}
        )
        line = command("--source", self.source, "--model-name", self.name, *OPTIONS, python=self.python)
        with self.folder.with_suffix(".output").open("a") as output:
            self.process = subprocess.Popen(
                line, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, text=True,
            )  # fmt: skip

    def running(self) -> bool:
        assert self.process
        return self.process.poll() is None

    def wait(self, seconds: float = LIMIT_S) -> int | None:
        """Return the exit code of the command, or None if it still runs after so many seconds."""
        assert self.process
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def logs(self) -> list[str]:
        """Return run.log of every command, the oldest first; a jump of the clock changes their names."""
        paths = sorted(self.folder.glob("runs/2*/run.log"), key=lambda path: path.stat().st_mtime)
        return [path.read_text(errors="replace") for path in paths]

    def wait_for(self, moment: str, command_number: int) -> bool:
        """Wait for the start of a task, or of the ranks; return False if the command ended before."""
        deadline = time.monotonic() + LIMIT_S
        while self.running() and time.monotonic() < deadline:
            if moment == "start" or (moment == "ranks" and len(self.ranks()) == RANKS):
                return True
            logs = self.logs()
            if len(logs) >= command_number and f"Executing task '{moment}'" in logs[-1]:
                return True
            time.sleep(0.1)
        return False

    def wait_for_step(self, step: int) -> None:
        """Wait until the first command has printed this step of its training, or has ended."""
        deadline = time.monotonic() + LIMIT_S
        while self.running() and time.monotonic() < deadline:
            if any(last >= step for _, last in self.first_steps()):
                return
            time.sleep(0.05)

    def measure(self) -> int | None:
        """Run the command; note how long its tasks and its ranks took; return its exit code."""
        begun, last = {"start": time.monotonic()}, time.monotonic()
        self.start()
        for task in TASKS:
            if self.wait_for(task, 1):
                begun[task] = time.monotonic()
            if task == "train" and self.wait_for("ranks", 1):
                begun["ranks"] = time.monotonic()
                while self.ranks():
                    time.sleep(0.1)
                self.seconds["ranks"] = time.monotonic() - begun["ranks"]
        code, names = self.wait(), ["start", *TASKS]
        last = time.monotonic()
        ends = [*(begun.get(name, last) for name in TASKS), last]
        self.seconds |= {name: end - begun.get(name, end) for name, end in zip(names, ends, strict=True)}
        return code

    def last_line(self) -> str:
        lines = self.folder.with_suffix(".output").read_text().strip().splitlines()
        return lines[-1] if lines else "(no output)"

    def members(self) -> list[psutil.Process]:
        """Return all processes whose working folder is that of this example."""
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if process.cwd().startswith(str(self.folder)) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def ranks(self) -> list[psutil.Process]:
        """Return the processes that mpirun started; each stands for a prepared process."""
        found = []
        for process in self.members():
            with suppress(OSError, psutil.Error):
                if "OMPI_COMM_WORLD_RANK" in process.environ():
                    found.append(process)
        return found

    def working_rank(self, number: int) -> psutil.Process | None:
        """Return the prepared process of a rank: it has the same standard output."""
        ranks = self.ranks()
        if number >= len(ranks):
            return None
        output = stdout(ranks[number])
        others = (process for process in self.members() if process.pid != ranks[number].pid)
        return next((process for process in others if output and stdout(process) == output), None)

    def mpirun(self) -> psutil.Process | None:
        return next((p for p in self.members() if p.name() in ("mpirun", "orterun", "prterun")), None)

    def left_running(self) -> list[str]:
        """Return the processes that have not ended in END_S seconds, and kill them."""
        _, alive = psutil.wait_procs(self.members(), timeout=END_S)
        texts = []
        for process in alive:
            with suppress(psutil.Error):
                texts.append(" ".join(process.cmdline())[:120])
                process.kill()
        return texts

    def first_steps(self) -> list[tuple[int, int]]:
        """Return the step after which each training started, and the last step that it printed."""
        found = []
        for log in self.logs():
            begin = re.search(rf"steps (\d+) to {STEPS}", log)
            printed = [int(text) for text in re.findall(rf"step (\d+)/{STEPS}", log)]
            if begin:
                found.append((int(begin[1]), max(printed, default=int(begin[1]))))
        return found


def stdout(process: psutil.Process) -> Path | None:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/fd/1").readlink()
    return None


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system of its own at an empty folder; only root can."""
    folder.mkdir()
    if os.geteuid():
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "faults", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def send(process: psutil.Process | None, number: signal.Signals) -> bool:
    """Send a signal; return whether the process existed."""
    with suppress(psutil.Error):
        if process:
            process.send_signal(number)
            return True
    return False
