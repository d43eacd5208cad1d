"""The routes of the Open Inference Protocol v2."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from tinyunet import __version__
from tinyunet.server.errors import RequestError, shortened
from tinyunet.server.holder import Served
from tinyunet.server.http.body import body_of
from tinyunet.server.http.query import check_query
from tinyunet.server.http.responses import errors, model_headers
from tinyunet.server.inspector import Answer, Station
from tinyunet.server.protocol.answers import metadata, response
from tinyunet.server.protocol.names import Untyped, kserve_module
from tinyunet.server.protocol.requests import parse_rest

HEADER_LENGTH = "inference-header-content-length"
_MODEL = "/models/{model_name}"
_VERSION = _MODEL + "/versions/{model_version}"


def find(station: Station, name: str, version: str = "") -> Served:
    """Return the model of a request.

    Raises:
        RequestError: 404 for a name or version that is not served.
    """
    current = station.inspector.current
    served = current.find(name, version)
    if served is None:
        active = current.active
        wanted = f"{name}/{version}" if version else name
        raise RequestError(404, f"model {shortened(wanted)}; this server has {active.name}/{active.version}")
    return served


def add_routes(router: APIRouter, station: Station) -> None:
    """Add all routes; `router` has the prefix /v2."""
    models = kserve_module("protocol.rest.v2_datamodels")
    _add_health(router, station, models)
    _add_models(router, station, models)
    _add_infer(router, station, models)


def _add_health(router: APIRouter, station: Station, models: Untyped) -> None:
    @router.get("", response_model=models.ServerMetadataResponse, responses=errors(401))
    async def server_metadata() -> dict[str, Any]:
        return {"name": "tinyunet", "version": __version__, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", response_model=models.ServerLiveResponse)
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", response_model=models.ServerReadyResponse, responses=errors(503))
    async def ready() -> dict[str, bool]:
        check_ready(station)
        return {"ready": True}


def check_ready(station: Station) -> None:
    """Raise a RequestError, 503, if the server stops."""
    if not station.ready:
        raise RequestError(503, "the server stops; ask another one", 1)


def _add_models(router: APIRouter, station: Station, models: Untyped) -> None:
    unknown = errors(401, 404)

    @router.get("/models", response_model=models.ListModelsResponse, responses=errors(401))
    async def names() -> dict[str, list[str]]:
        return {"models": [station.inspector.current.active.name]}

    @router.get(_MODEL, response_model=models.ModelMetadataResponse, responses=unknown)
    async def model_metadata(model_name: str) -> dict[str, Any]:
        return metadata(find(station, model_name))

    @router.get(_VERSION, response_model=models.ModelMetadataResponse, responses=unknown)
    async def version_metadata(model_name: str, model_version: str) -> dict[str, Any]:
        return metadata(find(station, model_name, model_version))

    @router.get(_MODEL + "/ready", response_model=models.ModelReadyResponse, responses=errors(401, 404, 503))
    async def model_ready(model_name: str) -> dict[str, Any]:
        return _ready(model_name)

    @router.get(
        _VERSION + "/ready", response_model=models.ModelReadyResponse, responses=errors(401, 404, 503)
    )
    async def version_ready(model_name: str, model_version: str) -> dict[str, Any]:
        return _ready(model_name, model_version)

    def _ready(name: str, version: str = "") -> dict[str, Any]:
        served = find(station, name, version)
        check_ready(station)
        return {"name": served.name, "ready": True}


def _add_infer(router: APIRouter, station: Station, models: Untyped) -> None:
    described: dict[str, Any] = {
        "dependencies": [Depends(check_query)],
        "response_model": models.InferenceResponse,
        "responses": {
            **errors(400, 401, 404, 408, 413, 415, 429, 503),
            200: {"content": {"application/octet-stream": {}}},
        },
        "openapi_extra": {"requestBody": _request_body(models)},
    }

    @router.post(_MODEL + "/infer", **described)
    async def infer(model_name: str, request: Request) -> Response:
        """Inspect images [B, H, W, C]; JSON, or JSON and the bytes of binary tensors."""
        return await _infer(station, find(station, model_name), request)

    @router.post(_VERSION + "/infer", **described)
    async def version_infer(model_name: str, model_version: str, request: Request) -> Response:
        """Inspect images by one version: the active one or its predecessor."""
        return await _infer(station, find(station, model_name, model_version), request)


def _request_body(models: Untyped) -> dict[str, Any]:
    schema = models.InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    binary = {"type": "string", "format": "binary"}
    inputs = schema.pop("$defs")
    schema["properties"]["inputs"]["items"] = inputs["RequestInput"]
    schema["properties"]["outputs"]["anyOf"][0]["items"] = inputs["RequestOutput"]
    return {
        "required": True,
        "content": {"application/json": {"schema": schema}, "application/octet-stream": {"schema": binary}},
    }


async def _infer(station: Station, served: Served, request: Request) -> Response:
    inspector, trace = station.inspector, request.state.trace
    async with body_of(request, inspector.admission, station.read_timeout) as body:
        length = request.headers.get(HEADER_LENGTH)
        parsed = await inspector.in_thread(parse_rest, body, length, served, inspector.admission)

        def encode(answer: Answer) -> Response:
            content = response(parsed, answer.inspections, served, trace.request_id)
            return _encoded(content, served)

        asked = "probability" in parsed.outputs
        return await inspector.tensor(served, parsed.images, trace, encode, probability=asked)


def _encoded(content: Untyped, served: Served) -> Response:
    import orjson

    headers = model_headers(served)
    result, length = content.to_rest()
    if length is None:
        return Response(orjson.dumps(result), headers=headers, media_type="application/json")
    return Response(
        result, headers={**headers, HEADER_LENGTH: str(length)}, media_type="application/octet-stream"
    )
