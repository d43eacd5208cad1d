"""The application of HTTP: all routes, and errors as one line of JSON."""

from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from tinyunet import __version__
from tinyunet.server.errors import RequestError, shortened
from tinyunet.server.http import pictures, v2
from tinyunet.server.http.gate import Gate
from tinyunet.server.http.responses import error_response, errors
from tinyunet.server.inspector import Station
from tinyunet.server.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# The page loads nothing from another server; its script and style are inside it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(station: Station) -> "ASGIApp":
    """Return the application."""
    app = FastAPI(
        title="TinyUNet inspection server",
        version=__version__,
        docs_url=None,  # its page would load scripts from another server
        redoc_url=None,
    )
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"])
    v2.add_routes(router, station)
    others = APIRouter()
    pictures.add_routes(others, station)
    _add_metrics(others, station)
    for one in (router, others):
        app.include_router(one)
    _add_page(app)
    _add_error_handlers(app)
    return Gate(app, station)


def _add_page(app: FastAPI) -> None:
    page = files("tinyunet.server.http").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": _POLICY})


def _add_metrics(router: APIRouter, station: Station) -> None:
    @router.get("/metrics", responses={**errors(401), 200: {"content": {"text/plain": {}}}}, tags=["metrics"])
    async def metrics() -> Response:
        """All metrics, in the text format of Prometheus."""
        return Response(station.metrics.text(), media_type=CONTENT_TYPE)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        words = f"{request.method} {shortened(request.url.path)}: {error.detail}; see /openapi.json"
        answer = error_response(RequestError(error.status_code, words))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return error_response(
            RequestError(400, f"{place} is {shortened(first.get('input'))}: {first['msg']}")
        )
