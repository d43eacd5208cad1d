"""Requests for inference of both protocols: what becomes of good tensors, and which outputs are answered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines import write_engine
from tinyunet.engine.engine import Engine
from tinyunet.server.admission import Admission
from tinyunet.server.errors import RequestError
from tinyunet.server.holder import Served
from tinyunet.server.protocol.answers import metadata
from tinyunet.server.protocol.names import kserve_module
from tinyunet.server.protocol.requests import outputs_of, parse_grpc, parse_rest


@pytest.fixture(scope="module")
def served(engine_folder: Path) -> Served:
    return Served(Engine(engine_folder), "part-7", "3")


@pytest.fixture(scope="module")
def served16(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model of 16-bit colour images."""
    folder = write_engine(tmp_path_factory.mktemp("engine16") / "engine", channels=3, bits=16)
    return Served(Engine(folder), "part-8", "1")


@pytest.fixture
def admission() -> Admission:
    return Admission(images=8, pixels=10_000, body=100_000)


def body(data: Any, shape: list[int], datatype: str = "UINT8", **members: Any) -> bytes:
    tensor = {"name": "images", "shape": shape, "datatype": datatype, "data": data}
    return json.dumps({"inputs": [tensor], **members}).encode()


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 255], [[[[1], [2]], [[3], [4]], [[5], [255]]]]])
def test_flat_and_nested_lists_are_the_same_image(served: Served, admission: Admission, data: Any) -> None:
    request = parse_rest(body(data, [1, 3, 2, 1], id="9"), None, served, admission)
    assert request.images.dtype == np.uint8
    assert request.images[..., 0].tolist() == [[[1, 2], [3, 4], [5, 255]]]
    assert request.id == "9"


def test_binary_tensors_are_little_endian_and_not_copied(served16: Served, admission: Admission) -> None:
    pixels = np.arange(12, dtype="<u2").reshape(1, 2, 2, 3) * 5000
    tensor = {"name": "images", "shape": [1, 2, 2, 3], "datatype": "UINT16"}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 24}}]}).encode()
    request = parse_rest(head + pixels.tobytes(), str(len(head)), served16, admission)
    np.testing.assert_array_equal(request.images, pixels)
    assert not request.images.flags.owndata


def test_both_forms_of_grpc_are_the_same_image(served: Served, admission: Admission) -> None:
    messages = kserve_module("protocol.grpc.grpc_predict_v2_pb2")
    tensor = {"name": "images", "shape": [1, 2, 2, 1], "datatype": "UINT8"}
    typed = messages.ModelInferRequest(inputs=[{**tensor, "contents": {"uint_contents": [1, 2, 3, 255]}}])
    raw = messages.ModelInferRequest(inputs=[tensor], raw_input_contents=[bytes([1, 2, 3, 255])])
    for message in (typed, raw):
        request = parse_grpc(message, served, admission)
        assert request.images.ravel().tolist() == [1, 2, 3, 255]
        assert set(request.outputs) == {"probability", "mask", "score", "defective"}
    both = messages.ModelInferRequest(
        inputs=[{**tensor, "contents": {"uint_contents": [1]}}], raw_input_contents=[b"1234"]
    )
    with pytest.raises(RequestError, match="contents and raw contents"):
        parse_grpc(both, served, admission)
    with pytest.raises(RequestError, match="2 raw contents for 1 inputs"):
        parse_grpc(
            messages.ModelInferRequest(inputs=[tensor], raw_input_contents=[b"1", b"2"]), served, admission
        )
    with pytest.raises(RequestError, match="the data hold 256 to 256; expected 0 to 255"):
        parse_grpc(
            messages.ModelInferRequest(inputs=[{**tensor, "contents": {"uint_contents": [256] * 4}}]),
            served,
            admission,
        )


@pytest.mark.parametrize(
    ("names", "binary", "default", "expected"),
    [
        ([], [], True, {"probability": True, "mask": True, "score": True, "defective": True}),
        (["score", "mask"], [None, False], True, {"score": True, "mask": False}),
        (["mask"], [True], False, {"mask": True}),
    ],
)
def test_the_form_of_an_output_is_its_own_or_that_of_the_request(
    names: list[str], binary: list[bool | None], default: bool, expected: dict[str, bool]
) -> None:
    assert outputs_of(names, binary, default=default) == expected


def test_json_above_its_limit_is_refused_before_it_is_parsed(served: Served) -> None:
    with pytest.raises(RequestError, match="send tensors by the binary extension") as caught:
        parse_rest(b"[" * (9 * 2**20), None, served, Admission(8, 10_000, 2**30))
    assert caught.value.status == 413


def test_the_maps_of_a_large_image_are_answered_in_binary_form_only(served: Served) -> None:
    admission, side = Admission(8, 2**24, 2**30), 2100
    for outputs, allowed in ([], False), (["mask"], False), (["score", "defective"], True):
        size = {"binary_data_size": side * side}
        tensor = {"name": "images", "shape": [1, side, side, 1], "datatype": "UINT8", "parameters": size}
        content = {"inputs": [tensor], "outputs": [{"name": name} for name in outputs]}
        for binary in (False, True):
            head = json.dumps({**content, "parameters": {"binary_data_output": binary}}).encode()
            data = head + bytes(side * side)
            if allowed or binary:
                assert parse_rest(data, str(len(head)), served, admission).images.size == side * side
            else:
                with pytest.raises(RequestError, match="expected at most 4194304") as caught:
                    parse_rest(data, str(len(head)), served, admission)
                assert caught.value.status == 413


def test_parsing_holds_no_room_because_it_runs_in_threads(served: Served, admission: Admission) -> None:
    with admission.hold_images(8, 1, 1):
        assert parse_rest(body([1, 2], [1, 1, 2, 1]), None, served, admission).images.size == 2
        assert (admission.images, admission.pixels) == (8, 8)


def test_the_metadata_say_what_the_model_takes(served16: Served) -> None:
    content = metadata(served16)
    assert content["inputs"] == [{"name": "images", "datatype": "UINT16", "shape": [-1, -1, -1, 3]}]
    assert (content["name"], content["versions"]) == ("part-8", ["1"])


def test_kserve_does_not_see_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    arguments = ["tinyunet", "serve", "--http_port", "no number"]
    monkeypatch.setattr(sys, "argv", arguments)
    for name in [name for name in sys.modules if name == "kserve.model_server"]:
        monkeypatch.delitem(sys.modules, name)
    assert kserve_module("model_server")
    assert sys.argv is arguments
