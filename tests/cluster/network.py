"""The network of the pods on this machine: a bridge, network namespaces, and the rules of kube-proxy."""

import json
import subprocess
from pathlib import Path

from cluster import ADDRESS
from machine import programs, run

BRIDGE = "cni-tinyunet"
OWNER = Path("/run/tinyunet-cluster")  # lines: the state folder of the cluster, the namespaces before it


def claim(state: Path) -> None:
    """Note that the network belongs to the cluster with this state folder, and which namespaces exist."""
    OWNER.write_text("\n".join([str(state), *_namespaces()]))


def create_network(state: Path) -> None:
    """Create the bridge, and write the configuration with which containerd connects pods to it."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    subnet = {"subnet": "10.244.0.0/24", "gateway": ADDRESS}
    ipam = {"type": "host-local", "ranges": [[subnet]], "routes": [{"dst": "0.0.0.0/0"}]}
    ipam["dataDir"] = str(state / "ipam")
    plugin = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": ipam}
    conf = {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}
    (state / "cni/10-bridge.conflist").write_text(json.dumps(conf))


def remove_network(state: Path) -> None:
    """Remove the bridge, the rules of iptables and the new namespaces, if they belong to this cluster."""
    owner, *earlier = OWNER.read_text().splitlines() if OWNER.exists() else [""]
    if owner == str(state):  # otherwise the bridge belongs to the cluster of another clone
        for name in set(_namespaces()) - set(earlier):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        subprocess.run([programs() / "kube-proxy", "--cleanup"], capture_output=True)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)
        OWNER.unlink()


def _namespaces() -> list[str]:
    folder = Path("/var/run/netns")
    return sorted(path.name for path in folder.glob("cni-*")) if folder.exists() else []
