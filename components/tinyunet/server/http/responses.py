"""Answers of several routes."""

import json
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from tinyunet.server.errors import RequestError
from tinyunet.server.holder import Served


class ErrorAnswer(BaseModel):
    """Why a request has no result, in one line."""

    error: str


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of these statuses for OpenAPI."""
    return {status: {"model": ErrorAnswer, "description": "an error in one line"} for status in statuses}


def error_response(error: RequestError) -> Response:
    """Return an error as JSON."""
    headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else {}
    text = json.dumps({"error": str(error)}, ensure_ascii=False)
    # Half of a surrogate pair in a value of the request can be escaped, but not encoded.
    return Response(text.encode("utf-8", "backslashreplace"), error.status, headers, "application/json")


def model_headers(served: Served) -> dict[str, str]:
    """Return the headers that name the model of an answer; characters beyond ASCII are escaped."""
    pairs = (("x-model-name", served.name), ("x-model-version", served.version))
    return {name: value.encode("ascii", "backslashreplace").decode() for name, value in pairs}
