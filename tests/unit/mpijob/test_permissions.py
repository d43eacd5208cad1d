"""What an account may do is asked of the API server, one review for each verb."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyunet.core.errors import UserError
from tinyunet.mpijob.permissions import nodes, require_mpijobs, require_queue

ALL = {
    "mpijobs": {"create", "get", "list", "watch", "patch", "delete"},
    "pods": {"get", "list"},
    "pods/log": {"get"},
    "localqueues": {"get"},
}
GROUPS = {"mpijobs": "kubeflow.org", "localqueues": "kueue.x-k8s.io"}


class ApiServer(ThreadingHTTPServer):
    """An API server with two routes.

    Attributes:
        allowed: Verbs of the account by resource.
        resources: Resources of the MPIJob's API.
        nodes: Names of its nodes; None forbids to list them.
        queues: Paths of its LocalQueues, below that of their API.
        namespaces: Namespaces about which it was asked.
    """

    allowed: dict[str, set[str]] = ALL
    resources: tuple[str, ...] = ("mpijobs", "mpijobs/status")
    nodes: tuple[str, ...] | None = None
    queues: tuple[str, ...] = ("namespaces/anna/localqueues/gpus",)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.namespaces: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        if self.path == "/api/v1/nodes":
            names = self.server.nodes or ()
            listed = {"items": [{"metadata": {"name": name}} for name in names]}
            self._send(403 if self.server.nodes is None else 200, listed)
            return
        if self.path.startswith("/apis/kueue.x-k8s.io/v1beta2/"):
            found = self.path.removeprefix("/apis/kueue.x-k8s.io/v1beta2/") in self.server.queues
            self._send(200 if found else 404, {})
            return
        assert self.path == "/apis/kubeflow.org/v2beta1"
        if self.server.resources:
            self._send(200, {"resources": [{"name": name} for name in self.server.resources]})
        else:
            self._send(404, {"message": "the server could not find the requested resource"})

    def do_POST(self) -> None:
        assert self.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        attributes = body["spec"]["resourceAttributes"]
        self.server.namespaces.add(attributes["namespace"])
        name = "/".join(filter(None, (attributes["resource"], attributes.get("subresource"))))
        assert attributes["group"] == GROUPS.get(name, "")
        self._send(201, {"status": {"allowed": attributes["verb"] in self.server.allowed.get(name, ())}})

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    config = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    with ApiServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        context = {"cluster": "c", "user": "u", "namespace": "anna"}
        address = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
        lists = {
            "contexts": [{"name": "c", "context": context}],
            "clusters": [{"name": "c", "cluster": address}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        config.write_text(yaml.safe_dump({"current-context": "c", **lists}))
        yield server
        server.shutdown()


def test_an_account_with_the_role_of_the_launcher_may_train(api: ApiServer) -> None:
    require_mpijobs()
    assert api.namespaces == {"anna"}


def test_every_missing_permission_is_named_with_the_remedy(api: ApiServer) -> None:
    api.allowed = ALL | {"mpijobs": {"get", "list", "watch"}, "pods/log": set()}
    with pytest.raises(UserError) as caught:
        require_mpijobs("ben")
    assert str(caught.value) == (
        "the service account of this pod may not create mpijobs, patch mpijobs, delete mpijobs, get pods/log "
        "in namespace ben; run: make connect NAMESPACE=ben (it binds the Role tinyunet-launcher)"
    )


@pytest.mark.parametrize("resources", [(), ("tfjobs",)])
def test_a_cluster_without_the_mpi_operator_is_found(api: ApiServer, resources: tuple[str, ...]) -> None:
    api.resources = resources
    with pytest.raises(UserError, match="install the MPI Operator"):
        require_mpijobs()


def test_the_nodes_are_read_where_this_is_allowed(api: ApiServer) -> None:
    assert nodes() is None
    api.nodes = ("a", "b")
    assert [one["metadata"]["name"] for one in nodes() or []] == ["a", "b"]


def test_a_queue_must_exist_in_the_namespace_of_the_job(api: ApiServer) -> None:
    require_queue("gpus")
    with pytest.raises(
        UserError, match=r"queue 'gpu' does not exist in namespace anna; expected a LocalQueue"
    ):
        require_queue("gpu")
    with pytest.raises(UserError, match="does not exist in namespace ben"):
        require_queue("gpus", "ben")


def test_a_queue_is_not_required_if_there_is_none_or_it_may_not_be_read(api: ApiServer) -> None:
    api.queues = ()
    require_queue("")
    api.allowed = {}
    require_queue("gpus")
