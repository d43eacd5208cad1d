"""What a user sees of a run on Kubeflow Pipelines 2.17, from recorded answers of its API."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_kfp import FakeKfp, recorded

from pipeline import follow

pytestmark = pytest.mark.usefixtures("no_kubeflow")
FAILED_NODE = "tinyunet-jzxw9-938761081"  # the pod of ingest in polls-of-a-run-that-fails.json
KUBECONFIG = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
LOG = "node-log-of-the-failed-executor.txt"


def lines_of(kfp: FakeKfp, capsys: pytest.CaptureFixture[str], *polls: Any, code: int) -> list[str]:
    """Return what a run with these polls prints on stderr, without the times of day."""
    kfp.polls = [polls[0], *polls]  # the first answer says whether the run exists
    kfp.runs = [{"run_id": "r1"}]
    assert follow.main(["--host", kfp.host, "--poll", "0.01", "--run", "r1"]) == code
    lines = capsys.readouterr().err.splitlines()
    return [line[10:] if line[2:3] == line[5:6] == ":" else line for line in lines]


def test_a_run_that_succeeded_has_one_line_for_each_task(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines_of(kfp, capsys, recorded("run-succeeded.json"), code=0) == [
        "1 Ingest: succeeded in 9 s",
        "2 Convert: succeeded in 17 s",
        "3 Train: succeeded in 2 min 18 s",
        "4 Evaluate: succeeded in 32 s",
        "5 Register: succeeded in 1 min 12 s",
        "run: succeeded in 5 min 10 s",
    ]


def test_a_line_has_the_local_time_of_the_event(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.polls, kfp.runs = [recorded("run-succeeded.json")], [{"run_id": "r1"}]
    follow.main(["--host", kfp.host, "--run", "r1"])
    last = capsys.readouterr().err.splitlines()[-1]
    finished = datetime.fromisoformat(recorded("run-succeeded.json")["finished_at"]).astimezone()
    assert last.startswith(f"{finished:%H:%M:%S}  run: ")


def test_the_tasks_of_a_loop_have_their_class(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(kfp, capsys, recorded("classes-succeeded.json"), code=0)
    assert len(lines) == 5 * 2 + 2
    assert lines[4] == "3 Train of class 1: succeeded in 2 min 08 s"
    assert lines[-2:] == ["6 Compare: succeeded in 59 s", "run: succeeded in 8 min 56 s"]


def test_a_run_that_fails_names_the_task_and_its_error(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.logs = {FAILED_NODE: recorded(LOG)}
    polls = [answer["run"] for answer in recorded("polls-of-a-run-that-fails.json")]
    assert lines_of(kfp, capsys, *polls, code=1) == [
        "run: pending",
        "run: running",
        "1 Ingest: running",
        "1 Ingest: failed after 6 s",
        "run: failed after 18 s",
        "1 Ingest failed:",
        "  | tinyunet.errors.UserError: s3://nope/x at http://seaweedfs.kubeflow.svc.cluster.local:9000: "
        "no bucket of that name; create it or correct the name",
        "tinyunet: error: run r1 failed",
    ]


def test_a_log_that_does_not_end_with_an_error_is_shown_without_the_lines_of_the_launcher(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = recorded(LOG).splitlines()[-1]
    kfp.logs = {FAILED_NODE: "\n".join([*map(str, range(20)), "Killed", launcher])}
    (*_, last) = [answer["run"] for answer in recorded("polls-of-a-run-that-fails.json")]
    lines = lines_of(kfp, capsys, last, code=1)
    assert lines[-2] == "  | Killed"
    assert lines[-11] == "  | 11"
    assert lines[-12] == "1 Ingest failed:"


def test_a_failed_class_is_named_and_an_unreadable_log_is_replaced_by_a_command(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(kfp, capsys, recorded("classes-one-failed.json"), code=1)
    assert lines[-4:] == [
        "1 Ingest of class 2 failed:",
        "  | its log cannot be read here; see "
        "kubectl -n kubeflow logs -c main --tail 20 -l pipeline/runid=r1",
        "the scores of what succeeded: output `table` of 5 Register of class 1",
        "tinyunet: error: run r1 failed",
    ]
    assert "5 Register of class 1: succeeded in 45 s" in lines
    assert "GET /apis/v1alpha1/runs/r1/nodes/tinyunet-classes-8trqh-3049855524/log" in kfp.log


def test_the_states_of_the_tasks_are_read_again_after_the_end_of_the_run(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    complete = recorded("run-succeeded.json")
    early = json.loads(json.dumps(complete))
    for task in early["run_details"]["task_details"]:
        if task.get("display_name", "").startswith("register"):
            task["state"] = "RUNNING"
    lines = lines_of(kfp, capsys, early, complete, code=0)
    assert lines[-2:] == ["5 Register: succeeded in 1 min 12 s", "run: succeeded in 5 min 10 s"]


def test_a_terminated_run_is_not_called_failed(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(kfp, capsys, recorded("run-terminated-in-training.json"), code=1)
    assert lines[-3:] == [
        "3 Train: terminated after 3 min 56 s",
        "run: terminated after 5 min 47 s",
        "tinyunet: error: run r1 was terminated",
    ]
    assert not any("/nodes/" in call for call in kfp.log)


def test_a_task_whose_pod_was_replaced_is_shown_once(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(kfp, capsys, recorded("run-with-pod-replaced.json"), code=0)
    assert [line for line in lines if "Train" in line] == ["3 Train: succeeded in 6 min 32 s"]


def test_a_run_that_was_retried_shows_the_last_attempt(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(kfp, capsys, recorded("run-retried-then-succeeded.json"), code=0)
    assert [line for line in lines if "Train" in line] == ["3 Train: succeeded in 9 min 26 s"]


class Kubernetes(BaseHTTPRequestHandler):
    """An API server that has one pod, which fits on no node."""

    def do_GET(self) -> None:
        assert self.path == "/api/v1/namespaces/kubeflow/pods?labelSelector=pipeline%2Frunid%3Dr1"
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
        }
        metadata = {"name": "p", "annotations": {"workflows.argoproj.io/node-id": FAILED_NODE}}
        pod = {"metadata": metadata, "status": {"phase": "Pending", "conditions": [condition]}}
        body = json.dumps({"kind": "PodList", "apiVersion": "v1", "items": [pod]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def kubernetes(no_kubeflow: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kubernetes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(KUBECONFIG, str(tmp_path / "config"))
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("kubernetes")
def test_a_pod_that_does_not_start_says_why(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "WAITING_S", 0.0)
    polls = [answer["run"] for answer in recorded("polls-of-a-run-that-fails.json")]
    lines = lines_of(kfp, capsys, *polls, code=1)
    assert lines[3:5] == [
        "1 Ingest: its pod does not start; Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.",
        "1 Ingest: failed after 6 s",
    ]


def test_without_access_to_kubernetes_the_command_that_says_why_is_named(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KUBECONFIG, "/does/not/exist")
    monkeypatch.setattr(follow, "WAITING_S", 0.0)
    polls = [answer["run"] for answer in recorded("polls-of-a-run-that-fails.json")]
    lines = lines_of(kfp, capsys, *polls, code=1)
    expected = "its pod does not start; see kubectl -n kubeflow describe pods -l pipeline/runid=r1"
    assert lines[3] == f"1 Ingest: {expected}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run", "r9"], "has no run r9; expected the id of a run"),
        ([], "no run given; expected the id that make pipeline-run printed: RUN=…"),
    ],
)
def test_a_run_that_does_not_exist_is_one_line(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert follow.main(["--host", kfp.host, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(expected)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (501, "8 min 21 s"), (7500, "2 h 05 min")]
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert follow.duration(seconds) == text
