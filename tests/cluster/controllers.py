"""Controllers beside those of a plain cluster: Kueue with its queues, and KWOK, which simulates nodes."""

import base64
import json
from pathlib import Path

import yaml
from cluster import ADDRESS, NODE, Cluster
from machine import REPOSITORY, programs, run

MODULES = REPOSITORY / "tests/cluster/fleet/programs"
WEBHOOK = ("kueue-system", "kueue-webhook-service", "kueue-webhook-server-cert")
# Kueue is a process of this machine, as the MPI Operator is. Its roles and its Deployment are left out.
INSTALLED = ("Namespace", "CustomResourceDefinition", "Secret", "Service")
HOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def start_kueue(cluster: Cluster) -> None:
    """Install Kueue's types and webhooks, and start its controller, configured as it is shipped."""
    source = module("kueue", "sigs.k8s.io/kueue")
    text = cluster.kubectl("kustomize", source / "config/default")
    objects = [one for one in yaml.safe_load_all(text) if one["kind"] in (*INSTALLED, *HOOKS)]
    namespace, service, secret = WEBHOOK
    for one in objects:
        if one["kind"] == "Service":
            one["spec"].pop("selector")  # the controller is no pod
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))
    meta = {"name": service, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}}
    ports = {"ports": [{"port": 9443, "protocol": "TCP"}], "endpoints": [{"addresses": [ADDRESS]}]}
    kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    cluster.apply(kind | {"metadata": meta} | ports)
    certificates = cluster.state / "kueue"
    certificates.mkdir(exist_ok=True)
    _write_kueue_configuration(source, cluster.state / "kueue.yaml", certificates)
    config = f"--kubeconfig={cluster.state}/operator.kubeconfig"
    cluster.start(
        "kueue", built("kueue"), config, f"--config={cluster.state}/kueue.yaml", "--zap-log-level=2"
    )

    def mount() -> None:
        """Write the certificate that Kueue made into its folder, as the kubelet does for its pod."""
        data = json.loads(cluster.kubectl("-n", namespace, "get", "secret", secret, "-o", "json")).get(
            "data", {}
        )
        for name, value in data.items():
            (certificates / name).write_bytes(base64.b64decode(value))
        if not data:
            raise RuntimeError("Kueue has made no certificate yet")

    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "probe"}}
    cluster.retry("Kueue makes its certificate", mount)
    cluster.retry("Kueue's webhook answers", lambda: cluster.apply(flavor))


def _write_kueue_configuration(source: Path, target: Path, certificates: Path) -> None:
    values = yaml.safe_load((source / "config/components/manager/controller_manager_config.yaml").read_text())
    values |= {
        "health": {"healthProbeBindAddress": "127.0.0.1:8081"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": ADDRESS, "port": 9443, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "featureGates": {"VisibilityOnDemand": False},
    }
    target.write_text(yaml.safe_dump(values))


def module(folder: str, name: str) -> Path:
    """Return the source of a Go module that a folder of programs pins."""
    return Path(run("go", "list", "-m", "-f", "{{.Dir}}", name, cwd=MODULES / folder).strip())


def built(program: str) -> Path:
    """Build the controllers unless they are cached, and return one of them."""
    return programs(MODULES) / program


def start_kwok(cluster: Cluster, *, nodes: int, gpus: int, seconds: float) -> None:
    """Start KWOK with simulated nodes, whose pods become ready at once.

    Args:
        cluster: The running cluster. Its own node gets no more pods.
        nodes: Number of the nodes.
        gpus: GPUs of each node.
        seconds: Duration of a pod of a Job, such as the launcher of an MPIJob. Its log is one line.
    """
    source = module("kwok", "sigs.k8s.io/kwok") / "kustomize/stage"
    names = ("node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease")
    names += tuple(f"pod/fast/pod-{name}" for name in ("ready", "complete", "delete"))
    stages = {name: yaml.safe_load((source / f"{name}.yaml").read_text()) for name in names}
    stages["pod/fast/pod-complete"]["spec"]["delay"] = {"durationMilliseconds": int(1000 * seconds)}
    log = cluster.state / "kwok.line"
    log.write_text("2026-01-01T00:00:00.000000000Z stdout F a simulated rank\n")
    spec = {"logs": [{"logsFile": str(log), "follow": True}]}
    logs = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs", "spec": spec}
    logs["metadata"] = {"name": "line"}
    config = cluster.state / "kwok.yaml"
    config.write_text(yaml.safe_dump_all([*stages.values(), logs]))
    cluster.start(
        "kwok", built("kwok"), f"--kubeconfig={cluster.state}/operator.kubeconfig", f"--config={config}",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", f"--node-ip={ADDRESS}",
        "--node-port=10247", "--cidr=10.245.0.0/16", f"--server-address={ADDRESS}:10247",
        "--node-lease-duration-seconds=40",
    )  # fmt: skip
    cluster.kubectl("cordon", NODE)
    cluster.apply(*(_node(f"fake-{number}", gpus) for number in range(nodes)))
    ready = ("wait", "--for=condition=Ready", "node", "-l", "type=kwok", "--timeout=60s")
    cluster.retry("the simulated nodes are ready", lambda: cluster.kubectl(*ready))


def _node(name: str, gpus: int) -> dict[str, object]:
    resources = {"cpu": "96", "memory": "1Ti", "pods": "110", "nvidia.com/gpu": str(gpus)}
    meta = {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"type": "kwok"}}
    status = {"allocatable": resources, "capacity": resources}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status}
