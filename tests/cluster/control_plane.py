"""The control plane: etcd, the API server, its controllers, and the MPI Operator."""

from pathlib import Path

from cluster import ADDRESS, Cluster
from machine import REPOSITORY, programs, run


def start_control_plane(cluster: Cluster) -> None:
    """Start etcd, the API server, the controller manager and the scheduler."""
    clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    cluster.start(
        "etcd", "etcd", "--data-dir", cluster.state / "etcd", "--unsafe-no-fsync",
        "--listen-client-urls", clients, "--advertise-client-urls", clients,
        "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
        "--initial-cluster", f"default={peers}",
    )  # fmt: skip
    _start_api_server(cluster)
    pki = cluster.state / "pki"
    keys = (f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt")
    accounts = "--use-service-account-credentials"
    _start_controller(cluster, "manager", "kube-controller-manager", *keys, accounts)
    _start_controller(cluster, "scheduler", "kube-scheduler")


def restart_api_server(cluster: Cluster, *flags: str) -> None:
    """Kill the API server and start it again, so that watches break and connections are refused.

    The operator ends when its lease expires meanwhile. It is started again, as a Deployment would do.
    """
    cluster.stop("apiserver")
    cluster.stop("operator")
    _start_api_server(cluster, *flags)
    start_operator(cluster)


def install_operator(cluster: Cluster) -> None:
    """Apply the MPIJob type (CRD) and start its controller."""
    module = REPOSITORY / "tests/cluster/programs/mpi-operator"
    source = run("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kubeflow/mpi-operator", cwd=module)
    crd = Path(source.strip()) / "manifests/base/kubeflow.org_mpijobs.yaml"
    cluster.kubectl("apply", "--server-side", "-f", crd)
    established = ("wait", "--for=condition=Established", "crd/mpijobs.kubeflow.org", "--timeout=20s")
    cluster.retry("the MPIJob type is served", lambda: cluster.kubectl(*established))
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mpi-operator"}})
    cluster.stop("operator")
    start_operator(cluster)


def start_operator(cluster: Cluster) -> None:
    """Start the MPI Operator."""
    config = f"-kubeConfig={cluster.state}/operator.kubeconfig"
    limits = ("-kube-api-qps=100", "-kube-api-burst=200")  # the default, 5, is too low for a fleet
    cluster.start("operator", programs() / "mpi-operator", config, "-lock-namespace=mpi-operator", *limits)


def _start_api_server(cluster: Cluster, *flags: str) -> None:
    pki = cluster.state / "pki"
    cluster.start(
        "apiserver", programs() / "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--bind-address={ADDRESS}", f"--advertise-address={ADDRESS}", "--secure-port=6443",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt", "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.key", f"--service-account-signing-key-file={pki}/sa.key",
        f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--feature-gates=WatchList=false",  # Debian's etcd 3.4 cannot stream lists
        *flags,
    )  # fmt: skip
    cluster.retry("the API server answers", lambda: cluster.kubectl("get", "--raw", "/readyz"))


def _start_controller(cluster: Cluster, name: str, program: str, *flags: str) -> None:
    kinds = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    files = [f"--{kind}={cluster.state}/{name}.kubeconfig" for kind in kinds]
    common = (*files, "--bind-address=127.0.0.1", "--leader-elect=false")
    cluster.start(name, programs() / program, *common, *flags)
