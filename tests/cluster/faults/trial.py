"""One trial of the driver: a small pipeline run of two tasks on the cluster, and what it leaves."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from cluster import Cluster
from deployment import NAMESPACE
from objects import list_objects, wait_until
from tasks import create_task, train_words

from tests.faults.clock import Clock

STEPS, CHECKPOINT_EVERY = 20, 5
SETTINGS = {
    "image_size": 32, "global_batch": 2, "steps": STEPS, "checkpoint_every": CHECKPOINT_EVERY,
    "validate_every": 0, "precision": "float32", "deterministic": True,
}  # fmt: skip
REGISTER = """
import os, sys
from pathlib import Path
from tinyunet.cli.main import main
from tinyunet.storage import s3
location, name = sys.argv[1:]
os.chdir("/tmp")
print("the task begins", flush=True)
s3.fetch(location + "/records", Path("records"))
s3.fetch(location + "/" + name, Path("model"))
main(["evaluate", "model", "records", "--out", "evaluation"]) and sys.exit(1)
sys.exit(main(["register", "model", "evaluation", "--name", name]))
"""
TASKS = ("train", "register")
# The train task runs; the launcher of its MPIJob exists; the ranks take steps; the other task runs.
PHASES = ("train", "launcher", "ranks", "register")
SERVICES = ("statefulset/postgres", "statefulset/minio", "deployment/mlflow")
ENDED = ("Succeeded", "Failed", "Gone")
LIMIT_S = 400.0  # a task that takes longer counts as one that never ends
LOGS = Path("/var/log/pods")  # where the kubelet keeps the output of all containers


class Output:
    """The output of a run's pods, also of those that do not exist any more, from the files of the node."""

    def __init__(self, name: str) -> None:
        self._name, self._texts = name, dict[Path, str]()

    @contextmanager
    def read(self) -> Iterator[None]:
        """Read the files during the block."""
        ended = threading.Event()

        def repeat() -> None:
            while not ended.wait(0.2):
                self._read()

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def of(self, word: str) -> list[str]:
        """Return the output of the containers whose pods' names contain a word, the oldest first."""
        return [text for path, text in list(self._texts.items()) if word in path.parts[len(LOGS.parts)]]

    def all(self) -> str:
        """Return the output of all containers."""
        return "".join(f"== {path.relative_to(LOGS)}\n{text}\n" for path, text in self._texts.items())

    def _read(self) -> None:
        for path in sorted(LOGS.glob(f"{NAMESPACE}_*{self._name}-*/*/*.log")):
            with suppress(OSError):
                text = path.read_text(errors="replace")
                self._texts[path] = max(self._texts.get(path, ""), text, key=len)


@dataclass
class Trial:
    """A pipeline run whose tasks are pods like those of Kubeflow.

    Attributes:
        cluster: With the services.
        name: Of the run, its registered model and its experiment, of this trial alone.
        location: Prefix on S3 that contains `records`.
        workers: Settings of the worker pods.
        clock: Clock of the tasks and the ranks, if `workers` uses one.
        output: Output of all pods of the run.
        pod: Pod of the newest task.
        pods: Pods of all tasks.
        seconds: Duration of every phase of a run without a fault.
    """

    cluster: Cluster
    name: str
    location: str
    workers: SimpleNamespace
    clock: Clock
    output: Output = field(init=False)
    pod: str = ""
    pods: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.output = Output(self.name)
        own = {"name": "MLFLOW_EXPERIMENT_NAME", "value": self.name}
        self.workers = SimpleNamespace(**vars(self.workers) | {"env": [*self.workers.env, own]})

    def start(self, task: str) -> None:
        """Create a new pod of a task, as Kubeflow does for the first try and for a retry."""
        words = [REGISTER, self.location, self.name]
        if task == "train":
            words = train_words(self.name, self.location, SETTINGS, self.workers)
        self.pod = f"{self.name}-{task}-{len(self.pods)}"
        self.pods.append(self.pod)
        create_task(self.cluster, self.pod, words, self.workers)

    def phase(self) -> str:
        """Return the phase of the newest task's pod; `Gone` if the pod does not exist."""
        pods = list_objects(self.cluster, "pods", NAMESPACE)
        return next((p["status"]["phase"] for p in pods if p["metadata"]["name"] == self.pod), "Gone")

    def wait(self) -> str:
        """Wait for the end of the newest task, and return its phase."""
        deadline = time.monotonic() + LIMIT_S
        while (phase := self.phase()) not in ENDED and time.monotonic() < deadline:
            time.sleep(0.3)
        return phase

    def wait_for(self, phase: str) -> bool:
        """Wait for the start of a phase; return whether it started before the task ended."""
        begun = False
        deadline = time.monotonic() + LIMIT_S
        while not begun and time.monotonic() < deadline and self.phase() not in ENDED:
            begun = self._has_begun(phase)
            time.sleep(0.1)
        return begun

    def wait_for_step(self, step: int) -> None:
        """Wait until the training has printed this step, or the task has ended."""
        while self.phase() not in ENDED and all(last < step for _, last, _ in self.trainings()):
            time.sleep(0.1)

    def _has_begun(self, phase: str) -> bool:
        if phase == "launcher":
            return bool(self.running(f"tinyunet-{self.name}-launcher"))
        word = {"train": "-train-", "register": "-register-", "ranks": "-launcher"}[phase]
        text = f"to {STEPS}" if phase == "ranks" else "the task begins"
        return any(text in one for one in self.output.of(word))

    def running(self, prefix: str) -> str:
        """Return the running pod whose name has a prefix; empty if there is none."""
        pods = list_objects(self.cluster, "pods", NAMESPACE)
        names = [p["metadata"]["name"] for p in pods if p["status"]["phase"] == "Running"]
        return next((name for name in sorted(names) if name.startswith(prefix)), "")

    def measure(self) -> list[str]:
        """Run both tasks without a fault, note how long the phases take, and return the ends of the tasks."""
        begun, ends = dict[str, float](), []
        for task in TASKS:
            self.start(task)
            for phase in PHASES[:-1] if task == "train" else PHASES[-1:]:
                self.wait_for(phase)
                begun[phase] = time.monotonic()
            ends.append(self.wait())
            begun[f"end of {task}"] = time.monotonic()
        self.seconds = {name: after - time_ for (name, time_), (_, after) in pairwise(begun.items())}
        return ends

    def trainings(self) -> list[tuple[int, int, int]]:
        """Return for each training its first step, the last one that it printed, and the lost checkpoints."""
        found = []
        for text in self.output.of("-launcher"):
            steps = [int(step) for step in re.findall(rf"step (\d+)/{STEPS}", text)]
            if begin := re.search(rf"steps (\d+) to {STEPS}", text):
                last = max(steps, default=int(begin[1]))
                found.append((int(begin[1]), last, text.count("no checkpoint of step")))
        return found

    def last_line(self) -> str:
        lines = "\n".join(self.output.of(self.pod)).strip().splitlines()
        return lines[-1] if lines else "(no output)"

    def remove(self) -> None:
        """Delete the pods of the tasks, as Kubeflow does with those of old runs."""
        self.cluster.kubectl(
            "-n", NAMESPACE, "delete", "pod", "--ignore-not-found", "--wait=false", *self.pods
        )

    def left(self) -> list[str]:
        """Return the pods, jobs and secrets of this run that exist."""
        kinds = ("pods", "mpijobs", "jobs", "secrets", "configmaps", "services")
        return [
            f"{kind}/{one['metadata']['name']}"
            for kind in kinds
            for one in list_objects(self.cluster, kind, NAMESPACE)
            if f"{self.name}-" in one["metadata"]["name"] or one["metadata"]["name"].endswith(self.name)
        ]


def wait_for_services(cluster: Cluster) -> None:
    """Wait until the node, MLflow and its servers are ready."""
    for words in (
        ("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s"),
        *(("-n", NAMESPACE, "rollout", "status", name, "--timeout=180s") for name in SERVICES),
    ):
        cluster.retry(" ".join(words), partial(cluster.kubectl, *words), 180)


def nothing_left(trial: Trial) -> list[str]:
    """Delete the tasks of a run, and return what then remains of it, as sentences."""
    trial.remove()
    with suppress(AssertionError):
        wait_until("nothing is left", lambda: not trial.left(), 90)
    return [f"left behind: {name}" for name in trial.left()]
