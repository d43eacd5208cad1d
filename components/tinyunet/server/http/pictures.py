"""The route /inspect: an image file in, a verdict or a picture out."""

import base64
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from tinyunet.data.pictures.decode import encode_png
from tinyunet.engine.overlay import highlight
from tinyunet.engine.regions import find_regions
from tinyunet.server.errors import RequestError, shortened
from tinyunet.server.http.body import body_of
from tinyunet.server.http.query import check_query
from tinyunet.server.http.responses import errors, model_headers
from tinyunet.server.inspector import Answer, Station

MAX_REGIONS = 1000
DIGITS = 4  # of logits, behind the point
THRESHOLD_DIGITS = 6  # of a probability
MAX_FIELDS = 8  # of a form
_FORM = "multipart/form-data"
_CONTENT = {
    _FORM: {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}},
            "required": ["file"],
            "additionalProperties": False,
        }
    },
    "image/*": {"schema": {"type": "string", "format": "binary"}},
}


class Picture(StrEnum):
    """The pictures that /inspect draws."""

    overlay = "overlay"
    mask = "mask"


class RegionAnswer(BaseModel):
    """Defective pixels that are connected by sides or corners."""

    top: int
    left: int
    height: int
    width: int
    area: int


class InspectionAnswer(BaseModel):
    """The answer to one image; lengths and areas are in pixels."""

    verdict: str
    defective: bool
    score: float
    image_threshold: float
    threshold: float
    regions: list[RegionAnswer]
    region_count: int
    area: int
    width: int
    height: int
    model: str
    version: str
    request_id: str
    overlay: str | None = None


def add_routes(router: APIRouter, station: Station) -> None:
    """Add the route."""

    @router.post(
        "/inspect",
        dependencies=[Depends(check_query)],
        response_model=InspectionAnswer,
        response_model_exclude_none=True,
        responses={**errors(400, 401, 408, 413, 415, 429, 503), 200: {"content": {"image/png": {}}}},
        openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
        tags=["inspect"],
    )
    async def inspect(
        request: Request,
        image: Annotated[Picture | None, Query(description="answer with this picture, a PNG")] = None,
        overlay: Annotated[bool, Query(description="add the overlay to the JSON, as a data URL")] = False,
    ) -> Response:
        """Inspect a PNG, JPEG, TIFF, BMP, WebP or GIF file, as form field `file` or as the whole body."""
        trace = request.state.trace

        def encode(answer: Answer) -> Response:
            if image is not None:
                return Response(
                    draw(answer, image), media_type="image/png", headers=model_headers(answer.served)
                )
            content = describe(answer, trace.request_id)
            if overlay:
                png = base64.b64encode(draw(answer, Picture.overlay)).decode()
                content.overlay = f"data:image/png;base64,{png}"
            text = content.model_dump_json(exclude_none=True)
            return Response(text, media_type="application/json", headers=model_headers(answer.served))

        inspector = station.inspector
        async with body_of(request, inspector.admission, station.read_timeout) as body:
            data, name = await inspector.in_thread(file_of, body, request.headers)
            return await inspector.picture(data, name, trace, encode)


def file_of(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, str]:
    """Return the image file of a request, and its name.

    Raises:
        RequestError: 400 unless it holds exactly one; 415 for another type of content.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        return _file_of_form(body, headers["content-type"])
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise RequestError(
            415, f"Content-Type is {shortened(kind)}; expected multipart/form-data with a file, or image/…"
        )
    return body, ""


def _file_of_form(body: bytes, content_type: str) -> tuple[bytes, str]:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import Field, File, create_form_parser

    found: list[tuple[bytes, str]] = []
    others: list[str] = []

    def on_file(file: File) -> None:
        if file.field_name == b"file":
            file.file_object.seek(0)
            found.append((file.file_object.read(), (file.file_name or b"").decode(errors="replace")))
        else:
            others.append((file.field_name or b"").decode(errors="replace"))

    def on_field(field: Field) -> None:
        others.append((field.field_name or b"").decode(errors="replace"))
        if len(others) > MAX_FIELDS:
            raise RequestError(400, f"the form has more than {MAX_FIELDS} fields; expected one file")

    if not body.rstrip(b"\r\n").endswith(b"--"):
        raise RequestError(400, "the form ends before its last boundary; expected a complete multipart body")
    headers = {"Content-Type": content_type.encode("latin-1")}
    config = {"MAX_MEMORY_FILE_SIZE": len(body)}  # no file on the disk
    try:
        parser = create_form_parser(headers, on_field, on_file, config)
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, UnicodeError) as error:
        raise RequestError(400, f"the form cannot be read: {shortened(str(error))}") from error
    if len(found) != 1 or others:
        raise RequestError(
            400,
            f"{len(found)} files and the fields {shortened(others)}; expected one file in the field 'file'",
        )
    return found[0]


def describe(answer: Answer, request_id: str) -> InspectionAnswer:
    """Return the verdict, the regions and the operating point."""
    inspection, document = answer.inspections[0], answer.served.engine.document
    regions, count = find_regions(inspection.mask, MAX_REGIONS)
    height, width = inspection.mask.shape
    return InspectionAnswer(
        verdict="defective" if inspection.defective else "clean",
        defective=inspection.defective,
        score=round(inspection.score, DIGITS),
        image_threshold=round(document.image_threshold, DIGITS),
        threshold=round(document.threshold, THRESHOLD_DIGITS),
        regions=[RegionAnswer(**asdict(region)) for region in regions],
        region_count=count,
        area=int(inspection.mask.sum()),
        width=width,
        height=height,
        model=answer.served.name,
        version=answer.served.version,
        request_id=request_id,
    )


def draw(answer: Answer, picture: Picture) -> bytes:
    """Return the overlay or the mask (0 and 255) as PNG."""
    mask = answer.inspections[0].mask
    if picture is Picture.mask:
        return encode_png(np.where(mask, 255, 0).astype(np.uint8))
    return encode_png(highlight(answer.images[0], mask))
