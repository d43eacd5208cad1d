"""The keys and certificates of the cluster, and the kubeconfig files of its accounts."""

from pathlib import Path

import yaml
from cluster import ADDRESS, NODE
from machine import run

NEW_KEY = ("-newkey", "rsa:2048", "-nodes")
DAYS = ("-days", 30)
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
    "manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "operator": "/O=system:masters/CN=mpi-operator",
}


def write_certificates(state: Path) -> None:
    """Write pki/ with the authority and the servers' certificates, and the kubeconfig files of the parts."""
    run("openssl", "genrsa", "-out", state / "pki/sa.key", 2048)
    authority = ("-keyout", state / "pki/ca.key", "-out", state / "pki/ca.crt")
    run("openssl", "req", "-x509", *NEW_KEY, *DAYS, "-subj", "/CN=test-ca", *authority)
    hosts = f"IP:127.0.0.1,IP:10.96.0.1,IP:{ADDRESS},DNS:kubernetes.default.svc,DNS:localhost"
    _write_certificate(state / "pki", "apiserver", "/CN=kube-apiserver", hosts)
    _write_certificate(state / "pki", "kubelet-server", f"/CN={NODE}", f"IP:{ADDRESS}")
    for name, subject in CLIENTS.items():
        add_client(state, name, subject)


def add_client(state: Path, name: str, subject: str) -> Path:
    """Return the kubeconfig file of a new account; the subject names its user and its groups."""
    pki, file = state / "pki", state / f"{name}.kubeconfig"
    _write_certificate(pki, name, subject)
    server = {"server": f"https://{ADDRESS}:6443", "certificate-authority": f"{pki}/ca.crt"}
    user = {"client-certificate": f"{pki}/{name}.crt", "client-key": f"{pki}/{name}.key"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(yaml.safe_dump(config))
    return file


def _write_certificate(pki: Path, name: str, subject: str, hosts: str = "") -> None:
    key, request, extensions = (pki / f"{name}.{suffix}" for suffix in ("key", "csr", "ext"))
    extensions.write_text(f"subjectAltName={hosts}" if hosts else "")
    run("openssl", "req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", subject)
    signed = ("-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-CAcreateserial", "-extfile", extensions)
    run("openssl", "x509", "-req", "-in", request, *DAYS, "-out", pki / f"{name}.crt", *signed)
