"""What every request of HTTP passes: its id, its token, its log line, and its last resort."""

import logging
import re
import uuid
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from tinyunet.server.inspector import Station, Trace
from tinyunet.server.logs import LOG, log

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Answered without a token: they tell nothing but that the server runs; the page holds no data.
FREE = ("/", "/v2/health/live", "/v2/health/ready")
CLOSED = 499  # nginx's status for a client that has gone; only the log and the metrics show it
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


def request_id(given: str | None) -> str:
    """Return the id that a client gave, if it is fit for a log, or a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


class Gate:
    """ASGI middleware around all routes."""

    def __init__(self, app: "ASGIApp", station: Station) -> None:
        self._app, self._station = app, station

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = perf_counter(), 0
        trace = Trace(request_id(Headers(scope=scope).get("x-request-id")))
        state = scope.setdefault("state", {})
        state["trace"] = trace

        async def answer(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(MutableHeaders(scope=message), trace)
            await send(message)

        try:
            await (self._app if self._may_pass(scope) else _unauthorized)(scope, receive, answer)
        except ClientDisconnect:
            status = CLOSED
        except Exception:
            LOG.exception("error of request %s", trace.request_id)
            if not status:
                response = JSONResponse({"error": f"error of the server; request id {trace.request_id}"}, 500)
                await response(scope, receive, answer)
        finally:
            seconds = perf_counter() - start  # without the time in which a client reads its answer
            with trace.held:
                if taken := state.get("taken"):
                    await taken()
            self._record(scope, trace, status or CLOSED, seconds)

    def _may_pass(self, scope: "Scope") -> bool:
        token = self._station.token
        if token is None or scope["path"] in FREE:
            return True
        if scope["path"] == "/metrics" and self._station.open_metrics:
            return True
        return token.accepts(Headers(scope=scope).get("authorization", ""))

    def _add_headers(self, headers: MutableHeaders, trace: Trace) -> None:
        headers["x-request-id"] = trace.request_id
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if not self._station.ready:
            headers["connection"] = "close"

    def _record(self, scope: "Scope", trace: Trace, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._station.metrics.request(route, status, seconds)
        quiet = status < 400 and route in ("/v2/health/live", "/v2/health/ready", "/metrics")
        log(
            "request",
            logging.DEBUG if quiet else logging.INFO,
            request_id=trace.request_id,
            method=scope["method"],
            route=route,
            status=status,
            **log_fields(trace, seconds),
        )


def log_fields(trace: Trace, seconds: float) -> dict[str, object]:
    """Return the times in milliseconds, the version and the number of images of a request."""
    times = {f"{stage}_ms": round(1000 * value, 2) for stage, value in trace.seconds.items()}
    images = {"version": trace.version, "images": trace.images} if trace.images else {}
    return {"ms": round(1000 * seconds, 2), **times, **images}


async def _unauthorized(scope: "Scope", receive: "Receive", send: "Send") -> None:
    error = "no valid token; expected the header Authorization: Bearer TOKEN"
    await JSONResponse({"error": error}, 401, {"www-authenticate": "Bearer"})(scope, receive, send)
