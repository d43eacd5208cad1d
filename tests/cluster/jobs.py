"""MPIJobs whose ranks run a shell command, and launchers that follow a job in a thread of the test."""

import threading

from images import RANKS
from objects import wait_until

from tinyunet.mpijob.run import run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods


class Shell:
    """Builds jobs of shell ranks, which start within a second."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def job(self, script: str, **changes: object) -> MPIJobSpec:
        """Return a job of two ranks that run `script`."""
        small = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
        values = {
            "name": "ranks",
            "namespace": self.namespace,
            "image": RANKS,
            "command": ("sh", "-c", script),
            "pods": WorkerPods(resources=small),
            "shm": "32Mi",
            "restarts": 0,
            "pending_seconds": 60,
        }
        return MPIJobSpec(**(values | changes))


class LauncherThread:
    """A launcher that follows its job in a thread of the test."""

    def __init__(self, spec: MPIJobSpec) -> None:
        self.namespace, self.lines = spec.namespace, list[str]()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(spec,), daemon=True)
        self._thread.start()

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait for a line of the log that contains `text`."""
        condition = f"a line {text!r} in {self.lines}"
        wait_until(condition, lambda: any(text in line for line in self.lines), seconds)

    def wait(self, seconds: float = 120) -> None:
        """Wait for the end of the launcher."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still running after {seconds:.0f} s: {self.lines}"

    def result(self, seconds: float = 120) -> None:
        """Wait for the end of the launcher, and raise the error that ended it."""
        self.wait(seconds)
        if self._error:
            raise self._error

    def _run(self, spec: MPIJobSpec) -> None:
        try:
            run_mpijob(spec, log=self.lines.append)
        except BaseException as error:
            self._error = error
