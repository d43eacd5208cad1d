"""A fake of the Kubeflow Pipelines API (v2beta1) over HTTP: the routes and statuses that the commands use."""

import email.parser
import email.policy
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
RECORDED = Path(__file__).parent / "recorded"


@dataclass
class FakeKfp:
    """The state of the server, and settings that make requests fail.

    Attributes:
        token: Bearer token that every call but healthz needs; empty is none.
        cookie: Cookie that every call needs; empty is none.
        namespaces: Profiles of a multi-user server; empty is single-user.
        states: States of a run, one for each poll; further polls get the last one.
        polls: Complete recorded answers, which replace `states`; further polls get the last one.
        logs: Logs by Argo's id of the node; another node answers 404.
        failures: Status codes with which the next polls of a run fail.
        page: Answer every request with a login page, as an OIDC proxy does.
        redirect: URL to which every request is redirected, as a gateway without a session does.
        race: Create the pipeline between the client's search and its upload.
        log: "METHOD path" of every call.
        credentials: Values of the headers Authorization and Cookie of every call.
        pipelines: Pipelines on the server.
        versions: Pipeline versions on the server, with the uploaded file.
        experiments: Experiments on the server.
        runs: Runs on the server.
        schedules: Recurring runs on the server.
        host: URL of the server.
    """

    token: str = ""
    cookie: str = ""
    namespaces: tuple[str, ...] = ()
    states: list[str | None] = field(default_factory=lambda: [None, "RUNNING", "SUCCEEDED"])
    polls: list[Json] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    page: bool = False
    redirect: str = ""
    race: bool = False
    log: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    pipelines: list[Json] = field(default_factory=list)
    versions: list[Json] = field(default_factory=list)
    experiments: list[Json] = field(default_factory=list)
    runs: list[Json] = field(default_factory=list)
    schedules: list[Json] = field(default_factory=list)
    host: str = ""

    @contextmanager
    def serving(self, certificate: Path | None = None) -> Iterator["FakeKfp"]:
        """Serve on a free port of this machine during a `with` block; over TLS with the PEM file of a key."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.host = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, method: str, path: str, query: Json, body: Json) -> tuple[int, Json | str]:
        """Return the status and body of the answer to an authenticated call."""
        if path.startswith("/apis/v1alpha1/runs/") and path.endswith("/log"):
            return self._get_log(path)
        route = path.removeprefix("/apis/v2beta1/")
        if route == "healthz":
            return 200, {"multi_user": bool(self.namespaces)}
        namespace = query.get("namespace") or body.get("namespace") or ""
        if self.namespaces and namespace not in self.namespaces and route in NAMESPACED:
            return _error(403, f"User is not authorized with reason: namespace {namespace!r}")
        handler = getattr(self, f"_{method.lower()}_{route.split('/')[0]}", None)
        return handler(route, query, body) if handler else _error(404, "Not Found")

    def _get_pipelines(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        if route == "pipelines":
            rows = [p for p in self.pipelines if p["namespace"] == query.get("namespace", "")]
            return 200, {"pipelines": _filtered(rows, query)}
        pipeline_id = route.split("/")[1]
        rows = [v for v in self.versions if v["pipeline_id"] == pipeline_id]
        return 200, {"pipeline_versions": _filtered(rows, query)}

    def _post_pipelines(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        if route == "pipelines/upload":
            name, namespace = query["name"], query.get("namespace", "")
            if self.race:
                self.race = False
                self._create(name, namespace, "the file of another client")
            if any((p["display_name"], p["namespace"]) == (name, namespace) for p in self.pipelines):
                return _error(409, f"The pipeline {name} already exists")
            return 200, self._create(name, namespace, body["uploadfile"])
        name, pipeline_id = query["name"], query["pipelineid"]
        if any((v["display_name"], v["pipeline_id"]) == (name, pipeline_id) for v in self.versions):
            return _error(409, f"The pipeline version {name} already exists")
        return 200, self._add_version(pipeline_id, name, body["uploadfile"])

    def _create(self, name: str, namespace: str, file: str) -> Json:
        """Create a pipeline; its first version has the name of the pipeline, as on the real server."""
        pipeline = {
            "pipeline_id": f"p{len(self.pipelines) + 1}",
            "display_name": name,
            "namespace": namespace,
        }
        self.pipelines.append(pipeline)
        self._add_version(pipeline["pipeline_id"], name, file)
        return pipeline

    def _add_version(self, pipeline_id: str, name: str, file: str) -> Json:
        number = f"v{len(self.versions) + 1}"
        version = {"pipeline_id": pipeline_id, "pipeline_version_id": number, "display_name": name}
        self.versions.append(version | {"file": file})
        return version

    def _get_experiments(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        rows = [e for e in self.experiments if e["namespace"] == query.get("namespace", "")]
        return 200, {"experiments": _filtered(rows, query)}

    def _post_experiments(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        experiment = {"experiment_id": f"e{len(self.experiments) + 1}", "namespace": "", **body}
        self.experiments.append(experiment)
        return 200, experiment

    def _post_runs(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        self.runs.append({"run_id": f"r{len(self.runs) + 1}", **body})
        return 200, self.runs[-1]

    def _get_runs(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        if self.failures:
            return _error(self.failures.pop(0), "upstream connect error")
        run_id = route.split("/")[1]
        if run_id not in {run["run_id"] for run in self.runs}:
            return _error(404, f"Failed to get a run: Run {run_id} not found")
        if self.polls:
            return 200, (self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]) | {"run_id": run_id}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, _run_without_tasks(state) | {"run_id": run_id}

    def _get_log(self, route: str) -> tuple[int, Json | str]:
        """Answer the only call of another version of the API; it is plain text."""
        node = route.split("/")[-2]
        return (200, self.logs[node]) if node in self.logs else _error(404, f"Could not get log of {node}")

    def _get_recurringruns(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        rows = [s for s in self.schedules if s["experiment_id"] == query.get("experiment_id")]
        first, size = int(query.get("page_token") or 0), int(query["page_size"])
        more = {"next_page_token": str(first + size)} if first + size < len(rows) else {}
        return 200, {"recurringRuns": rows[first : first + size], **more}

    def _post_recurringruns(self, route: str, query: Json, body: Json) -> tuple[int, Json]:
        if route.endswith(":disable"):
            (schedule,) = (
                s for s in self.schedules if route == f"recurringruns/{s['recurring_run_id']}:disable"
            )
            schedule["status"] = "DISABLED"
            return 200, {}
        self.schedules.append(
            {"recurring_run_id": f"s{len(self.schedules) + 1}", "status": "ENABLED", **body}
        )
        return 200, self.schedules[-1]


SECRET_HEADERS = ("Authorization", "Cookie")
NAMESPACED = ("pipelines", "pipelines/upload", "experiments")


def recorded(name: str) -> Any:
    """Return what a Kubeflow Pipelines 2.17 backend answered, from a file of the folder `recorded`."""
    text = (RECORDED / name).read_text()
    return json.loads(text) if name.endswith(".json") else text


def _run_without_tasks(state: str | None) -> Json:
    """Return the recorded answer to the first poll of a run, with another state."""
    run: Json = recorded("polls-of-a-run-that-fails.json")[0]["run"]
    run.pop("state")
    return run | ({"state": state, "state_history": [{"state": state}]} if state else {})


def _error(status: int, text: str) -> tuple[int, Json]:
    return status, {"error_message": text, "error_details": text}


def _filtered(rows: list[Json], query: Json) -> list[Json]:
    predicates = json.loads(query.get("filter", "{}")).get("predicates", [])
    return [row for row in rows if all(row[p["key"]] == p["stringValue"] for p in predicates)]


def _handler(fake: FakeKfp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            fake.log.append(f"{self.command} {parts.path}")
            fake.credentials += [self.headers[name] for name in SECRET_HEADERS if name in self.headers]
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if fake.redirect:
                return self._send(302, b"", "text/plain", Location=fake.redirect)
            if fake.page:
                return self._send(200, b"<html>Log in</html>", "text/html; charset=utf-8")
            status, body = self._refusal(parts.path) or fake.answer(
                self.command,
                parts.path,
                {key: values[0] for key, values in parse_qs(parts.query).items()},
                _body(self.headers.get("Content-Type", ""), data),
            )
            if isinstance(body, str):
                return self._send(status, body.encode(), "text/plain; charset=utf-8")
            return self._send(status, json.dumps(body).encode(), "application/json")

        def _refusal(self, path: str) -> tuple[int, Json | str] | None:
            if fake.cookie and self.headers.get("Cookie") != fake.cookie:
                return _error(401, "Request not authenticated")
            bearer = self.headers.get("Authorization") == f"Bearer {fake.token}"
            if fake.token and not bearer and not path.endswith("healthz"):
                return _error(401, "Unauthenticated: could not read the bearer token")
            return None

        def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _serve  # noqa: N815  names of http.server

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


def _body(kind: str, data: bytes) -> Json:
    if kind.startswith("multipart/form-data"):
        raw = f"Content-Type: {kind}\r\n\r\n".encode() + data
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(raw)
        return {part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
                for part in message.iter_parts()}  # fmt: skip
    return json.loads(data) if data else {}
