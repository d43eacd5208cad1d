"""The node: containerd, the kubelet, kube-proxy, CoreDNS, its volumes, and what its containers leave."""

import contextlib
import json
import os
import signal
from pathlib import Path

from cluster import ADDRESS, NODE, Cluster
from machine import cache, command_line, programs, run, wait_for_end

DISKS = 4
GPUS = 2  # advertised to the scheduler; there is no device


def start_node(cluster: Cluster) -> None:
    """Start the parts of the node, wait until it is Ready, and give it volumes and GPUs."""
    start_containerd(cluster)
    start_kubelet(cluster)
    cluster.start(
        "proxy", programs() / "kube-proxy", f"--kubeconfig={cluster.state}/proxy.kubeconfig",
        f"--hostname-override={NODE}", "--cluster-cidr=10.244.0.0/24", "--proxy-mode=iptables",
        "--bind-address=127.0.0.1", "--healthz-bind-address=127.0.0.1:10256",
        "--nodeport-addresses=127.0.0.0/8", "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
    )  # fmt: skip
    corefile = cluster.state / "Corefile"
    corefile.write_text(COREFILE.format(address=ADDRESS, kubeconfig=cluster.kubeconfig))
    cluster.start("coredns", programs() / "coredns", "-conf", corefile)
    cluster.retry("the node registers", lambda: cluster.kubectl("get", "node", NODE))
    cluster.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
    _create_disks(cluster)
    gpus = {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(GPUS)}
    status = ("--subresource=status", "--type=json", "-p", json.dumps([gpus]))
    cluster.kubectl("patch", "node", NODE, *status)


def start_containerd(cluster: Cluster) -> None:
    """Start containerd, and load the image of the pods' sandbox."""
    config = cluster.state / "containerd.toml"
    config.write_text(CONTAINERD.format(state=cluster.state, socket=cluster.socket))
    cluster.start("containerd", "containerd", "-c", config)
    cluster.retry("containerd answers", lambda: cluster.ctr("version"))
    cluster.load(_pause_image())


def start_kubelet(cluster: Cluster) -> None:
    """Start the kubelet."""
    state = cluster.state
    config = KUBELET.format(address=ADDRESS, pki=state / "pki", socket=cluster.socket)
    (state / "kubelet.yaml").write_text(config)
    cluster.start(
        "kubelet", programs() / "kubelet", f"--config={state}/kubelet.yaml",
        f"--kubeconfig={state}/kubelet.kubeconfig", f"--root-dir={state}/kubelet",
        f"--hostname-override={NODE}", f"--node-ip={ADDRESS}",
    )  # fmt: skip


def _create_disks(cluster: Cluster) -> None:
    """Create volumes for claims (there is no provisioner); a claim is bound when its pod is scheduled."""
    default = {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    binding = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": default}
    cluster.apply(kind | binding)
    for number in range(DISKS):
        folder = cluster.state / "disks" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        size = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
        spec = size | {"hostPath": {"path": str(folder)}, "storageClassName": "local"}
        meta = {"name": f"disk-{number}"}
        cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})


def _pause_image() -> Path:
    """Build the image of the pods' sandbox, one static program that waits, and return its archive."""
    archive = cache() / "images" / "pause.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "copy", "-q", container, "/usr/bin/catatonit", "/catatonit")
        run("buildah", "config", "--entrypoint", '["/catatonit","-P"]', container)
        run("buildah", "commit", "-q", "--rm", container, "localhost/pause:1")
        run("buildah", "push", "-q", "localhost/pause:1", f"oci-archive:{archive}.part:localhost/pause:1")
        Path(f"{archive}.part").rename(archive)
    return archive


def end_containers(cluster: Cluster) -> None:
    """Kill all containers, as far as containerd still answers."""
    with contextlib.suppress(RuntimeError):
        for task in cluster.ctr("task", "ls", "-q").split():
            with contextlib.suppress(RuntimeError):
                cluster.ctr("task", "delete", "--force", task)


def end_shims(cluster: Cluster) -> None:
    """Kill the processes of containerd that supervise containers and outlive it."""
    argument = f"-address\0{cluster.socket}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        command = command_line(int(entry.name))
        if b"containerd-shim" in command and argument in command:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
            wait_for_end(int(entry.name))


def unmount(state: Path) -> None:
    """Unmount everything below the state folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1] for line in lines]
    for point in sorted((path for path in points if path.startswith(f"{state}/")), reverse=True):
        run("umount", "-l", point)


COREFILE = """\
cluster.local:53 {{
  bind {address}
  kubernetes cluster.local {{
    kubeconfig {kubeconfig}
    pods insecure
    ttl 1
  }}
  errors
}}
"""
CONTAINERD = """\
version = 2
root = "{state}/containerd"
state = "{state}/run"
[grpc]
 address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
 sandbox_image = "localhost/pause:1"
 restrict_oom_score_adj = true # without CAP_SYS_RESOURCE a score cannot be lowered
 [plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{state}/cni"
"""
KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication:
  anonymous: {{enabled: false}}
  x509: {{clientCAFile: {pki}/ca.crt}}
  webhook: {{enabled: true}}
authorization: {{mode: Webhook}}
tlsCertFile: {pki}/kubelet-server.crt
tlsPrivateKeyFile: {pki}/kubelet-server.key
containerRuntimeEndpoint: unix://{socket}
cgroupDriver: cgroupfs
failSwapOn: false
clusterDNS: [{address}]
clusterDomain: cluster.local
resolvConf: ""
evictionHard: {{nodefs.available: "1%", imagefs.available: "1%", memory.available: "100Mi"}}
imageGCHighThresholdPercent: 100
volumeStatsAggPeriod: 5s
"""
