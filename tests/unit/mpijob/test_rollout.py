"""The pods of a model are replaced once for each version, and only ready ones end the step."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyunet.core.errors import UserError
from tinyunet.mpijob import rollout
from tinyunet.mpijob.rollout import VERSION, is_complete, require_deployer, roll_out

BASE = "/apis/apps/v1/namespaces/tinyunet/deployments"
DEADLINE = {"reason": "ProgressDeadlineExceeded", "message": "ReplicaSet x has timed out progressing."}


def deployment(name: str, model: str, version: str = "") -> dict[str, Any]:
    """Return a complete Deployment of two pods, as the API server describes it."""
    annotations = {"annotations": {VERSION: version}} if version else {}
    return {
        "metadata": {
            "name": name, "namespace": "tinyunet", "generation": 1, "annotations": {"tinyunet/model": model},
        },
        "spec": {"replicas": 2, "template": {"metadata": annotations}},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    }  # fmt: skip


class ApiServer(ThreadingHTTPServer):
    """An API server that replaces the pods of a Deployment one at each request for it.

    Attributes:
        deployments: By name.
        patched: Names of the changed Deployments, in order.
        forbidden: Whether every request is refused.
        broken: Whether new pods never become ready.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.deployments: dict[str, dict[str, Any]] = {}
        self.patched: list[str] = []
        self.forbidden = self.broken = False


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        name = self.path.removeprefix(BASE).strip("/")
        if self.server.forbidden:
            self._send(403, {"message": "deployments.apps is forbidden"})
        elif name:
            self._advance(self.server.deployments[name])
            self._send(200, self.server.deployments[name])
        else:
            self._send(200, {"items": list(self.server.deployments.values())})

    def do_PATCH(self) -> None:
        found = self.server.deployments[self.path.removeprefix(BASE).strip("/")]
        change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert change.keys() == {"spec"}
        found["spec"]["template"] = change["spec"]["template"]
        found["metadata"]["generation"] += 1
        self.server.patched.append(found["metadata"]["name"])
        self._send(200, found)

    def _advance(self, found: dict[str, Any]) -> None:
        status, generation = found["status"], found["metadata"]["generation"]
        if status["observedGeneration"] < generation:
            status |= {"observedGeneration": generation, "replicas": 3, "updatedReplicas": 1}
        elif self.server.broken:
            status["conditions"] = [DEADLINE]
        else:
            status |= {"replicas": 2, "updatedReplicas": 2}

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
    monkeypatch.setattr(rollout, "POLL_S", 0.01)
    with ApiServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        address = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
        lists = {
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "anna"}}],
            "clusters": [{"name": "c", "cluster": address}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        config.write_text(yaml.safe_dump({"current-context": "c", **lists}))
        yield server
        server.shutdown()


def test_only_the_servers_of_the_model_are_replaced_and_all_new_pods_are_awaited(api: ApiServer) -> None:
    api.deployments = {name: deployment(name, model) for name, model in (("a", "m1"), ("b", "m2"))}
    line = roll_out("m1", "7")
    assert line.startswith("a in namespace tinyunet serves version 7 of m1 now: all pods are new (")
    assert api.patched == ["a"]
    assert is_complete(api.deployments["a"])
    assert api.deployments["a"]["spec"]["template"]["metadata"]["annotations"] == {VERSION: "7"}


def test_a_version_that_the_pods_have_changes_nothing(api: ApiServer) -> None:
    api.deployments = {"a": deployment("a", "m1", version="7")}
    assert roll_out("m1", "7") == "a in namespace tinyunet serves version 7 of m1 already"
    assert api.patched == []


def test_a_version_that_is_not_the_champion_changes_nothing(api: ApiServer) -> None:
    api.deployments = {"a": deployment("a", "m1", version="6")}
    line = roll_out("m1", "7", champion=False)
    assert line == "version 7 of m1 is not the champion: its servers are not changed"
    assert api.patched == []


@pytest.mark.parametrize("replicas", [(3, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_old_missing_or_unready_pods_make_a_rollout_incomplete(replicas: tuple[int, int, int]) -> None:
    found = deployment("a", "m1")
    keys = ("replicas", "updatedReplicas", "availableReplicas")
    assert is_complete(found)
    found["status"] |= dict(zip(keys, replicas, strict=True))
    assert not is_complete(found)


def test_a_change_that_the_controller_has_not_seen_is_incomplete() -> None:
    found = deployment("a", "m1")
    found["metadata"]["generation"] = 2
    assert not is_complete(found)


def test_new_pods_that_do_not_become_ready_are_an_error_with_the_reason(api: ApiServer) -> None:
    api.deployments, api.broken = {"a": deployment("a", "m1")}, True
    with pytest.raises(
        UserError, match=r"new pods of a are not ready \(ReplicaSet x has timed out"
    ) as caught:
        roll_out("m1", "7")
    assert "the old ones go on answering; see kubectl -n tinyunet describe pods" in str(caught.value)


def test_without_a_server_the_error_names_the_command_that_creates_one(api: ApiServer) -> None:
    api.deployments = {"b": deployment("b", "m2")}
    with pytest.raises(
        UserError, match="no Deployment in namespace tinyunet serves m1; create one: make dep"
    ):
        roll_out("m1", "7")


def test_a_missing_permission_is_found_before_the_run_and_names_the_remedy(api: ApiServer) -> None:
    require_deployer()
    api.forbidden = True
    with pytest.raises(
        UserError, match="403 Forbidden for Deployments in tinyunet; make connect NAMESPACE=…"
    ):
        require_deployer()
