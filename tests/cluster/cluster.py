"""The cluster as the tests use it: programs of this machine with logs and pid files, kubectl and images."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from machine import REPOSITORY, CannotHost, command_line, programs, run, wait_for_end

STATE = REPOSITORY / "runs" / "cluster"
NODE = "node-0"
ADDRESS = "10.244.0.1"  # of the host on the pods' bridge; API server, kubelet and DNS listen only here


class Cluster:
    """A real one-node Kubernetes on this machine: its parts are host processes, and pods are real containers.

    Attributes:
        state: Folder of keys, logs, pid files and containers.
        kubeconfig: The administrator's kubeconfig file.
        socket: The socket of containerd.
        loaded: Archives of images; the images stay when containerd is restarted.
    """

    def __init__(self, state: Path = STATE) -> None:
        self.state = state
        self.kubeconfig = state / "admin.kubeconfig"
        self.socket = state / "run" / "containerd.sock"
        self.loaded: set[Path] = set()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def answers(self) -> bool:
        """Return whether the API server is ready."""
        ready = ("get", "--raw", "/readyz", "--request-timeout=5s")
        try:
            return self.kubeconfig.exists() and self.kubectl(*ready).strip() == "ok"
        except RuntimeError:
            return False

    def kubectl(self, *words: object, stdin: str | None = None) -> str:
        """Run kubectl as the administrator, and return its output."""
        return run(programs() / "kubectl", "--kubeconfig", self.kubeconfig, *words, input=stdin)

    def apply(self, *objects: dict[str, object]) -> None:
        """Apply Kubernetes objects."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def ctr(self, *words: object) -> str:
        """Run containerd's client in the namespace of Kubernetes, and return its output."""
        return run("ctr", "-a", self.socket, "-n", "k8s.io", *words)

    def load(self, archive: Path) -> None:
        """Import an image archive, once; pods use it with `imagePullPolicy: IfNotPresent`."""
        if archive not in self.loaded:
            self.ctr("image", "import", archive)
            self.loaded.add(archive)

    def start(self, name: str, *command: object) -> None:
        """Start a program that writes its output to log/NAME.log."""
        with (self.state / "log" / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                [str(word) for word in command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        (self.state / "pid" / name).write_text(str(self._children[name].pid))

    def stop(self, name: str, signum: int = signal.SIGKILL) -> None:
        """Send a signal to a program that `start` started, and wait for its end."""
        file = self.state / "pid" / name
        if not file.exists():
            return
        pid = int(file.read_text())
        if str(self.state).encode() in command_line(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
            if child := self._children.pop(name, None):
                child.wait(10)
            wait_for_end(pid)
        file.unlink()

    def lives(self) -> bool:
        """Return whether a program that `start` started still runs."""
        files = (self.state / "pid").glob("*")
        return any(str(self.state).encode() in command_line(int(file.read_text())) for file in files)

    def retry(self, condition: str, call: Callable[[], object], seconds: float = 60) -> None:
        """Repeat a call until it raises no RuntimeError."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                call()
                return
            except RuntimeError as error:
                if time.monotonic() > deadline:
                    where = f"see runs/cluster-log ({error})"
                    raise CannotHost(f"not within {seconds:.0f} s: {condition}; {where}") from error
                time.sleep(0.25)
