"""The faults of the cluster: each is injected into a running task, and removed after its seconds.

A fault is a function of the trial and of its seconds. It returns whether it found its victim, which may end
while the fault looks for it.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress

from boot import restart
from deployment import NAMESPACE
from machine import run
from network import BRIDGE
from trial import PHASES, Trial

Fault = Callable[[Trial, float], bool]
FIND_S = 20.0  # a victim that does not exist yet is waited for
FORCED = ("--grace-period=0", "--force")
JUMPS_S = (3600, -3600, -300)  # MinIO refuses requests whose date is wrong by more than 900 seconds
# The pods in which a task, a launcher or a rank ends; the servers are called by their labels.
PODS: dict[str, Callable[[Trial], str]] = {
    "task": lambda trial: trial.pod,
    "launcher": lambda trial: f"tinyunet-{trial.name}-launcher",
    "worker": lambda trial: f"tinyunet-{trial.name}-worker-1",
}
SERVERS = ("mlflow", "minio", "postgres")
RANKS_SIGKILL = "kill -9 $(grep -ls OMPI_COMM_WORLD_RANK= /proc/[0-9]*/environ | cut -d/ -f3)"


def find(trial: Trial, who: str) -> str:
    """Return the running pod of a victim; empty if there is none within FIND_S seconds."""
    prefix = PODS[who](trial) if who in PODS else who
    deadline = time.monotonic() + FIND_S
    while not (name := trial.running(prefix)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return name


def deleted(who: str, *words: str) -> Fault:
    """Delete a pod: with its grace period, or by force."""

    def inject(trial: Trial, seconds: float) -> bool:
        delete = ("-n", NAMESPACE, "delete", "pod", find(trial, who), "--wait=false", *words)
        return succeeds(lambda: trial.cluster.kubectl(*delete))

    return inject


def killed(who: str) -> Fault:
    """Kill the first process of a pod's container, which ends all others; the kubelet restarts servers."""

    def inject(trial: Trial, seconds: float) -> bool:
        if name := find(trial, who):
            pod = json.loads(trial.cluster.kubectl("-n", NAMESPACE, "get", "pod", name, "-o", "json"))
            container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
            return succeeds(lambda: trial.cluster.ctr("task", "kill", "--signal", "SIGKILL", container))
        return False

    return inject


def killed_rank(trial: Trial, seconds: float) -> bool:
    """Kill the rank in a worker, but not its sshd."""
    words = ("-n", NAMESPACE, "exec", find(trial, "worker"), "--", "sh", "-c", RANKS_SIGKILL)
    return succeeds(lambda: trial.cluster.kubectl(*words))


def succeeds(call: Callable[[], object]) -> bool:
    """Return whether a command did not fail; it fails if its victim has just ended."""
    with suppress(RuntimeError):
        call()
        return True
    return False


def stopped(part: str) -> Fault:
    """Kill a part of the cluster, and start it again later."""

    def inject(trial: Trial, seconds: float) -> bool:
        trial.cluster.stop(part)
        try:
            time.sleep(seconds)
        finally:
            restart(trial.cluster, part)
        return True

    return inject


def cut(service: str, table: str, chain: str, *target: str) -> Fault:
    """Drop or refuse what pods send to a service."""

    def inject(trial: Trial, seconds: float) -> bool:
        words = ("-n", NAMESPACE, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
        address = trial.cluster.kubectl(*words)
        match = ("-d", address) if table == "raw" else ("-m", "conntrack", "--ctorigdst", address)
        rule = (chain, "-i", BRIDGE, "-p", "tcp", *match, "-j", *target)
        run("iptables", "-w", "-t", table, "-I", *rule)
        try:
            time.sleep(seconds)
        finally:
            run("iptables", "-w", "-t", table, "-D", *rule)
        return True

    return inject


def jump(offset: int) -> Fault:
    """Move the clock of the task and of the ranks, but not of the servers."""

    def inject(trial: Trial, seconds: float) -> bool:
        trial.clock.set(offset)
        try:
            time.sleep(seconds)
        finally:
            trial.clock.set(0)
        return True

    return inject


OF_LAUNCHER = ("launcher", "ranks")
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {  # with the phases in which there is a victim
    "rank SIGKILL": (killed_rank, ("ranks",)),
    **{
        f"{who} {how}": (fault, PHASES if who == "task" else OF_LAUNCHER)
        for who in PODS
        for how, fault in (
            ("deleted", deleted(who)),
            ("deleted by force", deleted(who, *FORCED)),
            ("SIGKILL", killed(who)),
        )
    },
    **{f"{who} SIGKILL": (killed(who), PHASES) for who in SERVERS},
    **{f"{who} deleted by force": (deleted(who, *FORCED), PHASES) for who in SERVERS},
    **{
        f"{part} SIGKILL": (stopped(part), PHASES)
        for part in ("apiserver", "operator", "kubelet", "containerd")
    },
    **{f"{name} cut off": (cut(name, "raw", "PREROUTING", "DROP"), PHASES) for name in ("mlflow", "minio")},
    **{
        f"{name} reset": (cut(name, "filter", "FORWARD", "REJECT", "--reject-with", "tcp-reset"), PHASES)
        for name in ("mlflow", "minio")
    },
    **{f"clock {seconds:+} s": (jump(seconds), PHASES) for seconds in JUMPS_S},
}
