"""The methods of the gRPC service, and what every call passes: its id, its token, its log line."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import grpc  # type: ignore[import-untyped]

from tinyunet import __version__
from tinyunet.server.errors import RequestError
from tinyunet.server.http.gate import CLOSED, log_fields, request_id
from tinyunet.server.http.v2 import find
from tinyunet.server.inspector import Answer, Station, Trace
from tinyunet.server.logs import LOG, log
from tinyunet.server.protocol.answers import metadata, response
from tinyunet.server.protocol.names import Untyped, kserve_module
from tinyunet.server.protocol.requests import parse_grpc

FREE = ("ServerLive", "ServerReady")
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
Method = Callable[[Any, Trace], Awaitable[Any]]


def add_service(server: Untyped, station: Station) -> None:
    """Add the service to a server of grpc.aio."""
    service = Service(station)
    for name in ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"):
        setattr(service, name, _guarded(station, name, getattr(service, name)))
    stubs = kserve_module("protocol.grpc.grpc_predict_v2_pb2_grpc")
    stubs.add_GRPCInferenceServiceServicer_to_server(service, server)


def _guarded(station: Station, name: str, method: Method) -> Callable[[Any, Any], Awaitable[Any]]:
    """Return a method as gRPC calls it."""

    async def call(message: Untyped, context: Untyped) -> Untyped:
        start, status = perf_counter(), 200
        given = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        trace = Trace(request_id(given.get("x-request-id")))
        context.set_trailing_metadata((("x-request-id", trace.request_id),))
        try:
            if (
                station.token
                and name not in FREE
                and not station.token.accepts(given.get("authorization", ""))
            ):
                raise RequestError(401, "no valid token; expected the metadata authorization: Bearer TOKEN")
            return await method(message, trace)
        except RequestError as error:
            status = error.status
            await context.abort(CODES[status], str(error))
        except asyncio.CancelledError:
            status = CLOSED
            raise
        except Exception:
            status = 500
            LOG.exception("error of request %s", trace.request_id)
            await context.abort(
                grpc.StatusCode.INTERNAL, f"error of the server; request id {trace.request_id}"
            )
        finally:
            trace.held.close()
            seconds = perf_counter() - start
            station.metrics.request(f"grpc/{name}", status, seconds)
            level = logging.DEBUG if name in FREE and status == 200 else logging.INFO
            fields = log_fields(trace, seconds)
            log("request", level, request_id=trace.request_id, route=f"grpc/{name}", status=status, **fields)

    return call


class Service:
    """The methods; each takes its message and the trace of the call."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._messages = kserve_module("protocol.grpc.grpc_predict_v2_pb2")

    async def ServerLive(self, message: Untyped, trace: Trace) -> Untyped:  # noqa: N802  name in the protocol
        """Return that the server runs."""
        return self._messages.ServerLiveResponse(live=True)

    async def ServerReady(self, message: Untyped, trace: Trace) -> Untyped:  # noqa: N802
        """Return whether the server is ready."""
        return self._messages.ServerReadyResponse(ready=self._station.ready)

    async def ServerMetadata(self, message: Untyped, trace: Trace) -> Untyped:  # noqa: N802
        """Return name and version of this program."""
        return self._messages.ServerMetadataResponse(name="tinyunet", version=__version__)

    async def ModelReady(self, message: Untyped, trace: Trace) -> Untyped:  # noqa: N802
        """Return whether a model is ready."""
        find(self._station, message.name, message.version)
        return self._messages.ModelReadyResponse(ready=self._station.ready)

    async def ModelMetadata(self, message: Untyped, trace: Trace) -> Untyped:  # noqa: N802
        """Return inputs and outputs of the model."""
        served = find(self._station, message.name, message.version)
        return self._messages.ModelMetadataResponse(**metadata(served))

    async def ModelInfer(self, message: Untyped, trace: Trace) -> Untyped:  # noqa: N802
        """Inspect images [B, H, W, C]."""
        inspector = self._station.inspector
        served = find(self._station, message.model_name, message.model_version)
        with inspector.admission.hold_body() as room:
            room.grow(message.ByteSize())
            parsed = await inspector.in_thread(parse_grpc, message, served, inspector.admission)

            def encode(answer: Answer) -> Untyped:
                return response(parsed, answer.inspections, served, trace.request_id).to_grpc()

            asked = "probability" in parsed.outputs
            return await inspector.tensor(served, parsed.images, trace, encode, probability=asked)

    async def _unsupported(self, message: Untyped, context: Untyped) -> None:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "this server follows the registry; see `tinyunet serve`"
        )

    RepositoryModelLoad = RepositoryModelUnload = _unsupported
