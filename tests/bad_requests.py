"""Bad requests for the inspection server, with the answers that they should get."""

import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.inspection_server import picture

MIB = 2**20
GOOD = picture(np.full((16, 16, 1), 90, np.uint8))
COLOUR = picture(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
BOUNDARY = "0123456789"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
INFER = "/v2/models/engine/infer"
BINARY = "application/octet-stream"


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 0, data: bytes = b"\0") -> bytes:
    """Return a PNG with this header, whatever its data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def tiff_pages(count: int) -> bytes:
    """Return a TIFF of several pages."""
    data = io.BytesIO()
    pages = [Image.fromarray(np.zeros((8, 8), np.uint8)) for _ in range(count)]
    pages[0].save(data, "TIFF", save_all=True, append_images=pages[1:])
    return data.getvalue()


def part(name: str, data: bytes, filename: str | None = "photo.png") -> bytes:
    """Return a part of a form."""
    words = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{words}\r\n\r\n'
    return head.encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def tensor(**changes: Any) -> dict[str, Any]:
    """Return a good input of 4 pixels, with changes; a value of None removes a member."""
    good = {"name": "images", "shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [1, 2, 3, 4]}
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def infer(*inputs: Any, **members: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **members}).encode()


@dataclass(frozen=True)
class Bad:
    """A bad request.

    Attributes:
        name: What is wrong.
        status: The expected status.
        words: Words of the answer.
        path: Path of the request.
        body: Its body.
        kind: Its type of content.
        headers: Further headers.
        method: Its method.
    """

    name: str
    status: int
    words: str
    path: str = "/inspect"
    body: bytes = b""
    kind: str = "image/png"
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


def v2(
    name: str, status: int, words: str, body: bytes, kind: str = "application/json", length: Any = None
) -> Bad:
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    return Bad(name, status, words, INFER, body, kind, headers)


def binary(name: str, words: str, raw: bytes, size: Any = None, **changes: Any) -> Bad:
    """Return a bad request with a binary tensor."""
    parameters = {"binary_data_size": len(raw) if size is None else size}
    head = infer(tensor(**{"data": None, "parameters": parameters, **changes}))
    return v2(name, 400, words, head + raw, BINARY, len(head))


HEAD = infer(tensor())
PICTURES = [
    Bad("an empty body", 400, "the image is empty"),
    Bad("text", 400, "the image is not a PNG", body=b"hello"),
    Bad("a GIF without pictures", 400, "the image", body=b"GIF89a" + b"\0" * 40),
    Bad("a PDF", 400, "is a PDF", body=b"%PDF-1.7 ..."),
    Bad("a zip archive", 400, "is a zip archive", body=b"PK\3\4" + b"\0" * 40),
    Bad("SVG", 400, "is an XML, SVG or HTML file", body=b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    Bad("JSON as an image", 400, "is a JSON file", body=b'{"a": 1}'),
    Bad("HEIC", 400, "is a HEIC or AVIF", body=b"\0\0\0\x18ftypheic" + b"\0" * 20),
    Bad("a PNG without its end", 400, "the image is truncated or damaged", body=COLOUR[:-400]),
    Bad("a PNG of a signature only", 400, "truncated or damaged", body=GOOD[:8]),
    Bad("a PNG with a changed byte", 400, "truncated or damaged", body=COLOUR[:19] + b"\xff" + COLOUR[20:]),
    Bad(
        "a JPEG without its end",
        400,
        "truncated or damaged",
        body=picture(np.zeros((64, 64, 1), np.uint8), "JPEG")[:200],
    ),
    Bad("a JPEG of its first bytes", 400, "truncated or damaged", body=b"\xff\xd8\xff\xe0"),
    Bad("a TIFF without directory", 400, "truncated or damaged", body=b"II*\0\x08\0\0\0"),
    Bad("a TIFF with a loop of directories", 400, "the image", body=b"II*\0\x08\0\0\0\0\0\x08\0\0\0"),
    Bad("a BMP header only", 400, "truncated or damaged", body=b"BM" + b"\0" * 20),
    Bad("a WebP header only", 400, "the image", body=b"RIFF\x10\0\0\0WEBPVP8 "),
    Bad("a TIFF of 3 pages", 400, "holds 3 pages, expected one", body=tiff_pages(3)),
    Bad(
        "16-bit grey for a model of 8 bits",
        400,
        "the image is 16-bit grey, but the model was trained on images of 8 bits",
        body=png(2, 2, 16, 0, b"\0\1\2\3\4" * 2),
    ),
    Bad("16-bit colour", 400, "16-bit RGB", body=png(1, 1, 16, 2, b"\0" * 7)),
    Bad("no pixels", 400, "the image", body=png(0, 0)),
    Bad("a bomb: 1,023,000 pixels in a small file", 413, "expected at most 1000000", body=png(31_000, 33)),
    Bad("a bomb: 30,000×30,000 pixels", 400, "30000×30000 pixels", body=png(30_000, 30_000)),
    Bad("a bomb: 2 billion pixels wide", 400, "the image", body=png(2**31 - 1, 2**31 - 1)),
    Bad(
        "a bomb in a JPEG header",
        400,
        "the image",
        body=b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xd9",
    ),
    Bad(
        "more bytes than the largest body",
        413,
        "expected at most 4194304",
        body=b"\x89PNG\r\n\x1a\n" + b"\0" * 5 * MIB,
    ),
    Bad("a type that is no image", 415, "Content-Type is 'text/csv'", body=GOOD, kind="text/csv"),
    Bad("no type", 415, "Content-Type is ''", body=GOOD, kind=""),
    Bad(
        "a compressed body",
        415,
        "Content-Encoding is 'gzip'",
        body=GOOD,
        headers={"Content-Encoding": "gzip"},
    ),
    Bad("an unknown picture", 400, "query.image is 'heatmap'", "/inspect?image=heatmap", GOOD),
    Bad("an overlay that is no boolean", 400, "query.overlay is 'perhaps'", "/inspect?overlay=perhaps", GOOD),
    Bad(
        "a form without a boundary",
        400,
        "the form",
        body=part("file", GOOD) + END,
        kind="multipart/form-data",
    ),
    Bad(
        "a form with another boundary",
        400,
        "the form",
        body=part("file", GOOD) + END,
        kind="multipart/form-data; boundary=x",
    ),
    Bad(
        "a form without its end",
        400,
        "the form ends before its last boundary",
        body=part("file", GOOD)[:-8],
        kind=FORM,
    ),
    Bad("an empty form", 400, "0 files", body=END, kind=FORM),
    Bad("a form that is no form", 400, "the form", body=b"file=photo.png", kind=FORM),
    Bad(
        "another name of the field",
        400,
        "0 files and the fields ['image']",
        body=part("image", GOOD) + END,
        kind=FORM,
    ),
    Bad(
        "a text field instead of a file",
        400,
        "0 files and the fields ['file']",
        body=part("file", GOOD, None) + END,
        kind=FORM,
    ),
    Bad("two files", 400, "2 files", body=part("file", GOOD) * 2 + END, kind=FORM),
    Bad(
        "a file and a field",
        400,
        "1 files and the fields ['x']",
        body=part("file", GOOD) + part("x", b"1", None) + END,
        kind=FORM,
    ),
    Bad(
        "a form of 20,000 fields",
        400,
        "the form has more than 8 fields",
        body=part("x", b"1", None) * 20_000 + END,
        kind=FORM,
    ),
    Bad("an empty file in a form", 400, "the image is empty", body=part("file", b"") + END, kind=FORM),
    Bad(
        "a damaged file in a form",
        400,
        "truncated or damaged",
        body=part("file", COLOUR[:900]) + END,
        kind=FORM,
    ),
]
TENSORS = [
    v2("an empty body", 400, "the body is not JSON", b""),
    v2("truncated JSON", 400, "the body is not JSON", HEAD[:-5]),
    v2("a list", 400, "the body", b"[1, 2]"),
    v2("a number", 400, "the body", b"7"),
    v2("1,000 nested lists", 400, "the body", b"[" * 100_000),
    v2("bytes that are not UTF-8", 400, "the body is not JSON", b'{"inputs": "\xff\xfe"}'),
    v2("no inputs", 400, "inputs", b"{}"),
    v2("inputs that are no list", 400, "inputs", b'{"inputs": 5}'),
    v2("an empty list of inputs", 400, "inputs []; expected one with the name 'images'", infer()),
    v2("two inputs", 400, "expected one with the name 'images'", infer(tensor(), tensor())),
    v2("another name", 400, "inputs ['pictures']", infer(tensor(name="pictures"))),
    v2("no shape", 400, "shape", infer(tensor(shape=None))),
    v2(
        "three dimensions",
        400,
        "this model expects [images, height, width, 1]",
        infer(tensor(shape=[1, 2, 2])),
    ),
    v2(
        "three channels",
        400,
        "this model expects [images, height, width, 1]",
        infer(tensor(shape=[1, 2, 2, 3])),
    ),
    v2("a negative side", 400, "shape [1, -2, -2, 1]", infer(tensor(shape=[1, -2, -2, 1]))),
    v2("no image", 400, "shape [0, 2, 2, 1]", infer(tensor(shape=[0, 2, 2, 1]))),
    v2("a side of 2 to the 70", 400, "inputs.0.shape.1", infer(tensor(shape=[1, 2**70, 2, 1]))),
    v2("a fraction as a side", 400, "inputs.0.shape", infer(tensor(shape=[1, 2.5, 2, 1]))),
    v2("words as a shape", 400, "inputs.0.shape", infer(tensor(shape="large"))),
    v2(
        "too few elements", 400, "3 elements; the shape [1, 2, 2, 1] expects 4", infer(tensor(data=[1, 2, 3]))
    ),
    v2("too many elements", 400, "5 elements", infer(tensor(data=[1, 2, 3, 4, 5]))),
    v2("no data", 400, "data", infer(tensor(data=None))),
    v2("16 bits", 400, "datatype 'UINT16'; this model expects UINT8", infer(tensor(datatype="UINT16"))),
    v2("fractions as a type", 400, "datatype 'FP32'", infer(tensor(datatype="FP32"))),
    v2("an unknown type", 400, "datatype 'COLOUR'", infer(tensor(datatype="COLOUR"))),
    v2(
        "a level of 256", 400, "the data hold 1 to 256; expected 0 to 255", infer(tensor(data=[1, 2, 3, 256]))
    ),
    v2("a level below 0", 400, "the data hold -1 to 3", infer(tensor(data=[1, 2, 3, -1]))),
    v2("fractions", 400, "the data hold float", infer(tensor(data=[1, 2.5, 3, 4]))),
    v2("words", 400, "the data hold str", infer(tensor(data=["1", "2", "3", "4"]))),
    v2(
        "long words, a bomb for arrays",
        400,
        "the data hold str",
        infer(tensor(data=["x" * 10**6, *[1] * 10**6])),
    ),
    v2("booleans", 400, "the data hold bool", infer(tensor(data=[True, False, True, True]))),
    v2("nothing as levels", 400, "the data hold NoneType", infer(tensor(data=[None] * 4))),
    v2("lists and numbers", 400, "the data mix numbers and lists", infer(tensor(data=[[1, 2], 3, 4]))),
    v2(
        "an unknown output",
        400,
        "output 'heat'; this model has probability, mask,",
        infer(tensor(), outputs=[{"name": "heat"}]),
    ),
    v2("more pixels than the limit", 413, "1×1001×1000 pixels", infer(tensor(shape=[1, 1001, 1000, 1]))),
    v2("more images than the queue", 413, "9 images; expected at most 8", infer(tensor(shape=[9, 2, 2, 1]))),
    v2("an endless number of pixels", 413, "pixels", infer(tensor(shape=[2**30, 2**30, 2**30, 1]))),
    v2(
        "a length of the header beyond the body",
        400,
        "Inference-Header-Content-Length is '9999'",
        HEAD,
        BINARY,
        9999,
    ),
    v2("a negative length of the header", 400, "Inference-Header-Content-Length is '-1'", HEAD, BINARY, -1),
    v2("a length that is no number", 400, "Inference-Header-Content-Length is 'ten'", HEAD, BINARY, "ten"),
    v2("a length within the JSON", 400, "the body is not JSON", HEAD, BINARY, len(HEAD) - 4),
    v2("bytes behind the tensors", 400, "7 bytes behind the tensors", HEAD + b"1234567", BINARY, len(HEAD)),
    binary("too few bytes", "3 elements; the shape [1, 2, 2, 1] expects 4", b"abc"),
    binary("fewer bytes than announced", "binary_data_size is 400; expected at most 4", b"abcd", 400),
    binary("a negative size", "binary_data_size is -4", b"abcd", -4),
    binary("a size that is no number", "binary_data_size is 'all'", b"abcd", "all"),
    binary("data twice", "an input has data and binary_data_size", b"abcd", data=[1, 2, 3, 4]),
]
OTHERS = [
    Bad("a wrong token", 401, "no valid token", headers={"Authorization": "Bearer wrong"}, body=GOOD),
    Bad("an empty token", 401, "no valid token", headers={"Authorization": ""}, body=GOOD),
    Bad(
        "a password instead of a token",
        401,
        "no valid token",
        headers={"Authorization": "Basic YTpi"},
        body=GOOD,
    ),
    Bad("an unknown path", 404, "GET '/metric': Not Found", "/metric", method="GET"),
    Bad("a path of files", 404, "Not Found", "/%2e%2e/%2e%2e/etc/passwd", method="GET"),
    Bad(
        *("a misspelled query parameter", 400),
        "query parameter 'treshold'; expected one of: image, overlay",
        *("/inspect?overlay=1&treshold=3", GOOD),
    ),
    Bad("a query where none is", 400, "parameter 'x'; expected none", "/v2/models/engine/infer?x", HEAD),
    Bad("another method", 405, "GET '/inspect': Method Not Allowed", method="GET"),
    Bad("a method of nobody", 405, "Method Not Allowed", "/v2", method="BREW"),
    Bad("an unknown model", 404, "model 'other'; this server has engine/", "/v2/models/other", method="GET"),
    Bad(
        "an unknown model for inference",
        404,
        "model 'other'",
        "/v2/models/other/infer",
        HEAD,
        "application/json",
    ),
    Bad("an unknown version", 404, "model 'engine/99'", "/v2/models/engine/versions/99/ready", method="GET"),
    Bad("a long name", 404, "…", "/v2/models/" + "m" * 3000, method="GET"),
]
ALL = [*PICTURES, *TENSORS, *OTHERS]
