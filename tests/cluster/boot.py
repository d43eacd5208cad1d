"""A real one-node Kubernetes on this machine: its parts are host processes, and pods are real containers."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from machine import REPOSITORY, CannotHost, cache, programs, require, run

STATE = REPOSITORY / "runs" / "cluster"
NODE = "node-0"
BRIDGE = "cni-tinyunet"
OWNER = Path("/run/tinyunet-cluster")  # lines: the state folder of the cluster, the namespaces before it
ADDRESS = "10.244.0.1"  # of the host on the pods' bridge; API server, kubelet and DNS listen only here
SERVER = f"https://{ADDRESS}:6443"
DISKS = 4
GPUS = 2  # advertised to the scheduler; there is no device
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
    "manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "operator": "/O=system:masters/CN=mpi-operator",
}


class Cluster:
    """The cluster and its processes.

    Attributes:
        state: Folder of keys, logs, pid files and containers.
        kubeconfig: The administrator's kubeconfig file.
        socket: The socket of containerd.
    """

    def __init__(self, state: Path = STATE) -> None:
        self.state = state
        self.kubeconfig = state / "admin.kubeconfig"
        self.socket = state / "run" / "containerd.sock"
        self._bin = Path()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._loaded: set[Path] = set()  # archives; the images stay when containerd is restarted

    def up(self) -> None:
        """Start the cluster with a Ready node and the MPI Operator.

        Raises:
            CannotHost: if something is missing, or a part does not start; the message names the logs.
        """
        require()
        self._bin = programs()
        self.down()
        self._remove_other()
        for name in ("pki", "log", "pid", "cni", "kubelet", "run"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        OWNER.write_text("\n".join([str(self.state), *_namespaces()]))
        try:
            self._certificates()
            self._network()
            self._control_plane()
            self._node()
            self.install_operator()
        except BaseException:
            self.down()
            raise

    def answers(self) -> bool:
        """Return whether the API server is ready."""
        try:
            return (
                self.kubeconfig.exists()
                and self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s").strip() == "ok"
            )
        except RuntimeError:
            return False

    def down(self) -> None:
        """Stop all parts that run, and remove the network, the mounts and the state."""
        self._loaded.clear()
        controllers = ("kwok", "kueue", "operator", "scheduler", "manager")
        for name in ("kubelet", *controllers, "proxy", "coredns", "apiserver", "etcd"):
            self.stop(name)
        if self.socket.exists():
            self._end_containers()
        self.stop("containerd")
        self._end_shims()
        self._unmount()
        self._remove_network()
        if self.state.exists():
            logs = self.state.parent / "cluster-log"
            shutil.rmtree(logs, ignore_errors=True)
            with contextlib.suppress(OSError):
                (self.state / "log").rename(logs)
            shutil.rmtree(self.state)

    def kubectl(self, *words: object, stdin: str | None = None) -> str:
        """Run kubectl as the administrator, and return its output."""
        binary = self._bin / "kubectl" if self._bin.name else programs() / "kubectl"
        return run(binary, "--kubeconfig", self.kubeconfig, *words, input=stdin)

    def apply(self, *objects: dict[str, object]) -> None:
        """Apply Kubernetes objects."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def ctr(self, *words: object) -> str:
        """Run containerd's client in the namespace of Kubernetes, and return its output."""
        return run("ctr", "-a", self.socket, "-n", "k8s.io", *words)

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
        self._write(f"pid/{name}", str(self._children[name].pid))

    def stop(self, name: str, signum: int = signal.SIGKILL) -> None:
        """Send a signal to a program that `start` started, and wait for its end."""
        file = self.state / "pid" / name
        if not file.exists():
            return
        pid = int(file.read_text())
        if str(self.state).encode() in _command_line(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
            if child := self._children.pop(name, None):
                child.wait(10)
            _wait_for_end(pid)
        file.unlink()

    def restart_api_server(self, *flags: str) -> None:
        """Kill the API server and start it again, so that watches break and connections are refused.

        The operator ends when its lease expires meanwhile. It is started again, as a Deployment would do.
        """
        self.stop("apiserver")
        self.stop("operator")
        self._api_server(*flags)
        self.retry("the API server answers", lambda: self.kubectl("get", "--raw", "/readyz"))
        self._operator()

    def restart(self, name: str) -> None:
        """Start a part again that was stopped: `apiserver`, `operator`, `kubelet` or `containerd`."""
        parts: dict[str, Callable[[], None]] = {
            "apiserver": self.restart_api_server,
            "operator": self._operator,
            "kubelet": self._kubelet,
            "containerd": self._containerd,
        }
        parts[name]()

    def lives(self) -> bool:
        """Return whether a program that `start` started still runs."""
        files = (self.state / "pid").glob("*")
        return any(str(self.state).encode() in _command_line(int(file.read_text())) for file in files)

    # --- the parts of the cluster

    def _certificates(self) -> None:
        pki = self.state / "pki"
        run("openssl", "genrsa", "-out", pki / "sa.key", 2048)
        run(
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                30,
                "-subj",
                "/CN=test-ca",
            ),
            *("-keyout", pki / "ca.key", "-out", pki / "ca.crt"),
        )
        hosts = f"IP:127.0.0.1,IP:10.96.0.1,IP:{ADDRESS},DNS:kubernetes.default.svc,DNS:localhost"
        self._certificate("apiserver", "/CN=kube-apiserver", hosts)
        self._certificate("kubelet-server", f"/CN={NODE}", f"IP:{ADDRESS}")
        for name, subject in CLIENTS.items():
            self.add_client(name, subject)

    def add_client(self, name: str, subject: str) -> Path:
        """Return the kubeconfig file of a new account; the subject names its user and its groups."""
        self._certificate(name, subject)
        self._write(f"{name}.kubeconfig", yaml.safe_dump(self._kubeconfig(name)))
        return self.state / f"{name}.kubeconfig"

    def _certificate(self, name: str, subject: str, hosts: str = "") -> None:
        pki = self.state / "pki"
        self._write(f"pki/{name}.ext", f"subjectAltName={hosts}" if hosts else "")
        key, request = ("-keyout", pki / f"{name}.key"), pki / f"{name}.csr"
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", *key, "-out", request, "-subj", subject)
        run(
            *("openssl", "x509", "-req", "-in", request, "-days", 30, "-out", pki / f"{name}.crt"),
            *(
                "-CA",
                pki / "ca.crt",
                "-CAkey",
                pki / "ca.key",
                "-CAcreateserial",
                "-extfile",
                pki / f"{name}.ext",
            ),
        )

    def _kubeconfig(self, name: str) -> dict[str, object]:
        pki = self.state / "pki"
        user = {"client-certificate": f"{pki}/{name}.crt", "client-key": f"{pki}/{name}.key"}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "c", "cluster": {"server": SERVER, "certificate-authority": f"{pki}/ca.crt"}}
            ],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }

    def _network(self) -> None:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{ADDRESS}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        subnet = {"subnet": "10.244.0.0/24", "gateway": ADDRESS}
        ipam = {"type": "host-local", "ranges": [[subnet]], "routes": [{"dst": "0.0.0.0/0"}]}
        ipam["dataDir"] = str(self.state / "ipam")
        plugin = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": ipam}
        conf = {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}
        self._write("cni/10-bridge.conflist", json.dumps(conf))

    def _control_plane(self) -> None:
        local = "http://127.0.0.1"
        self.start(
            *("etcd", "etcd", "--data-dir", self.state / "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", f"{local}:2379", "--advertise-client-urls", f"{local}:2379"),
            *("--listen-peer-urls", f"{local}:2380", "--initial-advertise-peer-urls", f"{local}:2380"),
            *("--initial-cluster", f"default={local}:2380"),
        )
        self._api_server()
        self.retry("the API server answers", lambda: self.kubectl("get", "--raw", "/readyz"))
        pki = self.state / "pki"
        self._controller("manager", "kube-controller-manager",
            f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt",
            "--use-service-account-credentials",
        )  # fmt: skip
        self._controller("scheduler", "kube-scheduler")

    def _api_server(self, *flags: str) -> None:
        pki = self.state / "pki"
        self.start(
            "apiserver", self._bin / "kube-apiserver",
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

    def _controller(self, name: str, program: str, *more: str) -> None:
        config = self.state / f"{name}.kubeconfig"
        files = [
            f"--{flag}={config}"
            for flag in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        ]
        self.start(
            name, self._bin / program, *files, "--bind-address=127.0.0.1", "--leader-elect=false", *more
        )

    def _node(self) -> None:
        self._containerd()
        self._kubelet()
        config = self.state / "proxy.kubeconfig"
        self.start(
            "proxy", self._bin / "kube-proxy", f"--kubeconfig={config}", f"--hostname-override={NODE}",
            "--cluster-cidr=10.244.0.0/24", "--proxy-mode=iptables", "--bind-address=127.0.0.1",
            "--healthz-bind-address=127.0.0.1:10256", "--nodeport-addresses=127.0.0.0/8",
            "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        )  # fmt: skip
        self._write("Corefile", COREFILE.format(address=ADDRESS, kubeconfig=self.kubeconfig))
        self.start("coredns", self._bin / "coredns", "-conf", self.state / "Corefile")
        self.retry("the node registers", lambda: self.kubectl("get", "node", NODE))
        self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
        gpus = {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(GPUS)}
        self._disks()
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps([gpus]))

    def _disks(self) -> None:
        """Create volumes for claims (there is no provisioner); a claim is bound when its pod is scheduled."""
        default = {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
        binding = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
        kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": default}
        self.apply(kind | binding)
        for number in range(DISKS):
            folder = self.state / "disks" / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
            size = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
            spec = size | {"hostPath": {"path": str(folder)}, "storageClassName": "local"}
            meta = {"name": f"disk-{number}"}
            self.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})

    def _containerd(self) -> None:
        self._write("containerd.toml", CONTAINERD.format(state=self.state, socket=self.socket))
        self.start("containerd", "containerd", "-c", self.state / "containerd.toml")
        self.retry("containerd answers", lambda: self.ctr("version"))
        self.load(pause_image())

    def _kubelet(self) -> None:
        pki = self.state / "pki"
        config = KUBELET.format(address=ADDRESS, pki=pki, socket=self.socket)
        self._write("kubelet.yaml", config)
        self.start(
            "kubelet", self._bin / "kubelet", f"--config={self.state}/kubelet.yaml",
            f"--kubeconfig={self.state}/kubelet.kubeconfig", f"--root-dir={self.state}/kubelet",
            f"--hostname-override={NODE}", f"--node-ip={ADDRESS}",
        )  # fmt: skip

    def install_operator(self) -> None:
        """Apply the MPIJob type (CRD) and start its controller."""
        module = REPOSITORY / "tests/cluster/programs/mpi-operator"
        source = run(
            "go", "list", "-m", "-f", "{{.Dir}}", "github.com/kubeflow/mpi-operator", cwd=module
        ).strip()
        crd = Path(source) / "manifests/base/kubeflow.org_mpijobs.yaml"
        self.kubectl("apply", "--server-side", "-f", crd)
        established = ("wait", "--for=condition=Established", "crd/mpijobs.kubeflow.org", "--timeout=20s")
        self.retry("the MPIJob type is served", lambda: self.kubectl(*established))
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mpi-operator"}})
        self.stop("operator")
        self._operator()

    def _operator(self) -> None:
        config = f"-kubeConfig={self.state}/operator.kubeconfig"
        limits = ("-kube-api-qps=100", "-kube-api-burst=200")  # the default, 5, is too low for a fleet
        self.start("operator", self._bin / "mpi-operator", config, "-lock-namespace=mpi-operator", *limits)

    # --- images

    def load(self, archive: Path) -> None:
        """Import an image archive, once; pods use it with `imagePullPolicy: IfNotPresent`."""
        if archive not in self._loaded:
            self.ctr("image", "import", archive)
            self._loaded.add(archive)

    # --- helper functions

    def _write(self, name: str, text: str) -> None:
        (self.state / name).write_text(text)

    def retry(self, condition: str, call: Callable[[], object], seconds: float = 60) -> None:
        """Repeat a call until it raises no RuntimeError."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                call()
                return
            except RuntimeError as error:
                if time.monotonic() > deadline:
                    raise CannotHost(
                        f"not within {seconds:.0f} s: {condition}; see runs/cluster-log ({error})"
                    ) from error
                time.sleep(0.25)

    def _end_containers(self) -> None:
        with contextlib.suppress(RuntimeError):
            for task in self.ctr("task", "ls", "-q").split():
                with contextlib.suppress(RuntimeError):
                    self.ctr("task", "delete", "--force", task)

    def _end_shims(self) -> None:
        argument = f"-address\0{self.socket}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            command = _command_line(int(entry.name))
            if b"containerd-shim" in command and argument in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
                _wait_for_end(int(entry.name))

    def _unmount(self) -> None:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        points = [line.split()[1] for line in lines]
        for point in sorted((path for path in points if path.startswith(f"{self.state}/")), reverse=True):
            run("umount", "-l", point)

    def _remove_network(self) -> None:
        state, *earlier = OWNER.read_text().splitlines() if OWNER.exists() else [""]
        if state == str(self.state):  # otherwise the bridge belongs to the cluster of another clone
            for name in set(_namespaces()) - set(earlier):
                subprocess.run(["ip", "netns", "delete", name], capture_output=True)
            subprocess.run([programs() / "kube-proxy", "--cleanup"], capture_output=True)
            subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)
            OWNER.unlink()

    def _remove_other(self) -> None:
        """Remove what the cluster of another clone left when it was killed; refuse if it still runs."""
        other = Cluster(Path(OWNER.read_text().splitlines()[0])) if OWNER.exists() else None
        if other and not other.lives():
            print(f"the cluster of {other.state} was killed; what it left is removed", flush=True)
            other.down()
        if Path("/sys/class/net", BRIDGE).exists():
            where = other.state if other else f"bridge {BRIDGE}"
            raise CannotHost(f"the cluster of another clone runs on this machine ({where}); stop it first")


def pause_image() -> Path:
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


def _namespaces() -> list[str]:
    folder = Path("/var/run/netns")
    return sorted(path.name for path in folder.glob("cni-*")) if folder.exists() else []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _wait_for_end(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while _command_line(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


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
