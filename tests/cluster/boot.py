"""The life of the cluster: its start, its end, and the restart of a part."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from cluster import Cluster
from control_plane import install_operator, restart_api_server, start_control_plane, start_operator
from machine import CannotHost, programs, require
from network import BRIDGE, OWNER, claim, create_network, remove_network
from node import end_containers, end_shims, start_containerd, start_kubelet, start_node, unmount
from pki import write_certificates

CONTROLLERS = ("kwok", "kueue", "operator", "scheduler", "manager")


def up(cluster: Cluster) -> None:
    """Start the cluster with a Ready node and the MPI Operator.

    Raises:
        CannotHost: if something is missing, or a part does not start; the message names the logs.
    """
    require()
    programs()  # the first build takes 15 minutes
    down(cluster)
    _remove_other()
    for name in ("pki", "log", "pid", "cni", "kubelet", "run"):
        (cluster.state / name).mkdir(parents=True, exist_ok=True)
    claim(cluster.state)
    try:
        write_certificates(cluster.state)
        create_network(cluster.state)
        start_control_plane(cluster)
        start_node(cluster)
        install_operator(cluster)
    except BaseException:
        down(cluster)
        raise


def down(cluster: Cluster) -> None:
    """Stop all parts that run, and remove the network, the mounts and the state."""
    cluster.loaded.clear()
    for name in ("kubelet", *CONTROLLERS, "proxy", "coredns", "apiserver", "etcd"):
        cluster.stop(name)
    if cluster.socket.exists():
        end_containers(cluster)
    cluster.stop("containerd")
    end_shims(cluster)
    unmount(cluster.state)
    remove_network(cluster.state)
    if cluster.state.exists():
        logs = cluster.state.parent / "cluster-log"
        shutil.rmtree(logs, ignore_errors=True)
        with contextlib.suppress(OSError):
            (cluster.state / "log").rename(logs)
        shutil.rmtree(cluster.state)


def restart(cluster: Cluster, name: str) -> None:
    """Start a part again that was stopped: `apiserver`, `operator`, `kubelet` or `containerd`."""
    parts: dict[str, Callable[[Cluster], None]] = {
        "apiserver": restart_api_server,
        "operator": start_operator,
        "kubelet": start_kubelet,
        "containerd": start_containerd,
    }
    parts[name](cluster)


def _remove_other() -> None:
    """Remove what the cluster of another clone left when it was killed; refuse if it still runs."""
    other = Cluster(Path(OWNER.read_text().splitlines()[0])) if OWNER.exists() else None
    if other and not other.lives():
        print(f"the cluster of {other.state} was killed; what it left is removed", flush=True)
        down(other)
    if Path("/sys/class/net", BRIDGE).exists():
        where = other.state if other else f"bridge {BRIDGE}"
        raise CannotHost(f"the cluster of another clone runs on this machine ({where}); stop it first")
