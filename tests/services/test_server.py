"""A real server process on loopback: clients not written here, its limits, overload, and its end."""

import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray
from PIL import Image

from tests.inspection_server import TOKEN, Server, free_port, picture, start
from tinyunet.engine.engine import Engine

MIB = 2**20


@pytest.fixture(autouse=True)
def environment() -> None:
    """Replace the fixture of this folder: the server needs neither MLflow nor MinIO."""


@pytest.fixture(scope="module")
def server(engine_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token, small limits and gRPC."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    options = ("--token-file", str(token), "--max-pixels", "1000000", "--max-bytes", str(4 * MIB))
    with start(engine_folder, *options, "--read-timeout", "10", "--grpc-port", str(free_port())) as running:
        yield running


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Three images of 48×64 with a bright spot each, [3, 48, 64, 1]."""
    result = np.full((3, 48, 64, 1), 90, np.uint8)
    for i in range(3):
        result[i, 10 : 20 + i, 5 * i : 5 * i + 12] = 235
    return result


@pytest.fixture(scope="module")
def expected(engine_folder: Path, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The answers of the engine to these images."""
    answers = Engine(engine_folder).inspect(list(images), probability=True)
    probabilities = [answer.probability for answer in answers if answer.probability is not None]
    return {
        "mask": np.stack([answer.mask for answer in answers])[..., None].astype(np.uint8),
        "probability": np.stack(probabilities)[..., None],
        "score": np.array([answer.score for answer in answers], np.float32),
        "defective": np.array([answer.defective for answer in answers], np.uint8),
    }


@pytest.mark.parametrize("binary", [True, False])
def test_a_client_of_triton_over_http_gets_the_engines_answers(
    server: Server, images: NDArray[np.uint8], expected: dict[str, NDArray[Any]], binary: bool
) -> None:
    import tritonclient.http as triton

    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("engine", headers=headers)
        tensor = triton.InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images, binary_data=binary)
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in expected]
        for wanted in (outputs, None):
            answer = client.infer("engine", [tensor], outputs=wanted, request_id="42", headers=headers)
            assert answer.get_response()["id"] == "42"
            assert answer.get_response()["model_version"] == server.version
            for name, values in expected.items():
                np.testing.assert_allclose(answer.as_numpy(name), values, atol=1e-6, err_msg=name)
                assert answer.as_numpy(name).dtype == values.dtype


def test_a_client_of_triton_over_grpc_gets_the_engines_answers(
    server: Server, images: NDArray[np.uint8], expected: dict[str, NDArray[Any]]
) -> None:
    in_new_process(use_grpc, server.grpc_port, server.version, images, expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("form", [True, False])
def test_an_image_file_of_every_format_gets_a_verdict(
    server: Server, images: NDArray[np.uint8], kind: str, form: bool
) -> None:
    data = picture(images[0], kind)
    answer = server.inspect(data) if form else server.post("/inspect", data, "image/" + kind.lower())
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content["verdict"] == "defective"
    assert (content["height"], content["width"]) == (48, 64)
    assert content["region_count"] == 1
    assert (content["model"], content["version"]) == ("engine", server.version)
    assert answer.headers["x-model-version"] == server.version
    assert content["request_id"] == answer.headers["x-request-id"]


def test_the_regions_and_both_pictures_are_those_of_the_mask(
    server: Server, images: NDArray[np.uint8], expected: dict[str, NDArray[Any]]
) -> None:
    mask = expected["mask"][2, ..., 0]
    content = server.inspect(picture(images[2])).json()
    rows, columns = np.nonzero(mask)
    assert content["regions"] == [
        {
            "top": rows.min(),
            "left": columns.min(),
            "height": np.ptp(rows) + 1,
            "width": np.ptp(columns) + 1,
            "area": len(rows),
        }
    ]
    assert content["area"] == len(rows)
    assert content["score"] == round(float(expected["score"][2]), 4)
    assert "overlay" not in content
    drawn = server.inspect(picture(images[2]), image="mask")
    assert drawn.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(drawn.content))), mask * 255)
    overlay = server.inspect(picture(images[2]), image="overlay")
    assert Image.open(io.BytesIO(overlay.content)).size == (64, 48)
    assert (
        server.inspect(picture(images[2]), overlay="true")
        .json()["overlay"]
        .startswith("data:image/png;base64,")
    )


def test_a_file_of_megabytes_in_a_form_is_inspected(server: Server) -> None:
    noise = np.random.default_rng(0).integers(0, 100, (1000, 1000, 3), np.uint8)
    data = picture(noise, "BMP")
    assert len(data) > 2 * MIB
    answer = server.inspect(data)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["width"], answer.json()["verdict"]) == (1000, "clean")


def test_the_id_of_a_request_is_returned_and_logged_and_hostile_ids_are_replaced(server: Server) -> None:
    answer = server.get("/v2", **{"X-Request-Id": "line-3.cam:7"})
    assert answer.headers["x-request-id"] == "line-3.cam:7"
    for hostile in ('a"b', "x" * 129, "a b", "ä"):
        assert server.get("/v2", **{"X-Request-Id": hostile.encode()}).headers["x-request-id"] != hostile
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (line,) = [one for one in lines if one.get("request_id") == "line-3.cam:7"]
    assert (line["route"], line["status"], line["method"]) == ("/v2", 200, "GET")
    assert line["ms"] > 0
    assert TOKEN not in server.log.read_text()


def test_health_needs_no_token_and_everything_else_does(server: Server) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/"):
        assert requests.get(server.url + path, timeout=10).status_code == 200
    for path in ("/v2", "/v2/models", "/v2/models/engine", "/metrics", "/openapi.json", "/nothing"):
        answer = requests.get(server.url + path, timeout=10)
        assert answer.status_code == 401
        assert answer.json() == {"error": "no valid token; expected the header Authorization: Bearer TOKEN"}


def test_a_query_does_not_change_the_answer_of_a_route_without_options(server: Server) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/engine/ready", "/metrics"):
        assert server.get(f"{path}?probe=1").status_code == 200


def test_requests_and_stages_are_counted(server: Server, images: NDArray[np.uint8]) -> None:
    server.inspect(picture(images[0]))
    text = server.get("/metrics").text
    for words in (
        'tinyunet_requests_total{route="/inspect",status="200"}',
        'tinyunet_stage_seconds_count{stage="infer"}',
        'tinyunet_stage_seconds_count{stage="decode"}',
        f'version="{server.version}"',
    ):
        assert words in text


def test_the_openapi_document_describes_what_the_server_answers(server: Server) -> None:
    """Schemathesis sends generated requests to every route and checks status, type and schema of answers."""
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    headers = {"Authorization": f"Bearer {TOKEN}"}
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=headers)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=6,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            # A schema cannot say that a file is an image, or that a tensor has as many elements as its shape.
            excluded = [positive_data_acceptance]
            case.call_and_validate(base_url=server.url, headers=headers, excluded_checks=excluded)

        check()
    assert server.inspect(picture(np.zeros((8, 8, 1), np.uint8))).status_code == 200


def test_more_requests_than_the_queue_holds_get_429_and_no_other_error(engine_folder: Path) -> None:
    data = picture(np.random.default_rng(0).integers(0, 255, (500, 500, 1), np.uint8))
    with start(engine_folder, "--queue", "3", "--max-batch", "1") as server:
        server.inspect(data)
        memory = server.memory()
        statuses: list[int] = []
        waits: list[str] = []

        def ask() -> None:
            for i in range(100):
                if i >= 5 and set(statuses) == {200, 429}:
                    return
                answer = server.inspect(data)
                statuses.append(answer.status_code)
                if answer.status_code == 429:
                    waits.append(answer.headers["retry-after"])

        run_all([threading.Thread(target=ask) for _ in range(10)])
        assert server.inspect(data).status_code == 200
        assert server.memory() - memory < 150 * MIB
    assert set(statuses) == {200, 429}
    assert len(statuses) >= 50
    assert all(1 <= int(seconds) <= 60 for seconds in waits)


def test_no_request_fails_when_the_server_is_stopped_under_load(
    engine_folder: Path, images: NDArray[np.uint8]
) -> None:
    """A client that follows `Connection: close`, as clients do, sees answers and at last a closed port."""
    data = picture(images[0])
    with start(engine_folder, "--drain", "2") as server:
        server.inspect(data)
        outcomes: list[str] = []

        def ask() -> None:
            with requests.Session() as session:
                while True:
                    try:
                        answer = session.post(f"{server.url}/inspect", files={"file": data}, timeout=30)
                        outcomes.append(str(answer.status_code))
                    except requests.ConnectionError as error:
                        refused = "Connection refused" in str(error)
                        outcomes.append("closed" if refused else repr(error))
                        return

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(outcomes) > 20)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"200", "closed"}
    assert outcomes.count("closed") == 8


def test_a_stopping_server_answers_that_it_is_not_ready_and_a_second_signal_ends_it_at_once(
    engine_folder: Path,
) -> None:
    """The server would answer for an hour after the first signal."""
    with start(engine_folder, "--drain", "3600") as server:
        assert server.get("/v2/health/ready").status_code == 200
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("stopping")
        stopping = server.get("/v2/health/ready")
        assert (stopping.status_code, stopping.headers["connection"]) == (503, "close")
        assert server.get("/v2/health/live").status_code == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 128 + signal.SIGINT


def test_a_port_in_use_is_one_line(engine_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for options, remedy in (
            (("--port", port, "--grpc-port", "0"), "--port"),
            (("--port", "0", "--grpc-port", port), "--grpc-port, 0 for none"),
        ):
            done = run("serve", str(engine_folder), *options)
            assert done.returncode == 2
            assert f"port {port} of 127.0.0.1 cannot be used (Address already in use)" in done.stderr
            assert done.stderr.endswith(f"choose another one with {remedy}\n")
            assert done.stderr.count("\n") == 1


def test_a_server_beyond_loopback_starts_only_with_a_decision_about_authentication(
    engine_folder: Path,
) -> None:
    done = run("serve", str(engine_folder), "--host", "0.0.0.0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "give a token (--token-file FILE), or --no-auth" in done.stderr


def test_https_and_grpc_over_tls_use_the_certificate(
    engine_folder: Path, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key), "--grpc-port", str(free_port()))
    with start(engine_folder, *options) as server:
        url = f"https://localhost:{server.port}/inspect"
        answer = requests.post(url, files={"file": picture(images[0])}, verify=str(certificate), timeout=10)
        assert answer.json()["verdict"] == "defective"
        in_new_process(check_grpc_over_tls, server.grpc_port, str(certificate))
    done = run(
        "serve", str(engine_folder), "--tls-certificate", str(key), "--tls-key", str(key), "--port", "0"
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected PEM files that belong together" in done.stderr


def in_new_process(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function of this module in a process of its own.

    The gRPC clients of Triton and of kserve register the same protocol, which one process permits only once.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(function, *arguments).result(timeout=60)


def use_grpc(port: int, version: str, images: NDArray[np.uint8], expected: dict[str, NDArray[Any]]) -> None:
    """Ask a server by the gRPC client of Triton, with good and bad requests."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="no valid token"):
            client.get_model_metadata("engine")
        headers = {"authorization": f"Bearer {TOKEN}"}
        metadata = client.get_model_metadata("engine", headers=headers)
        assert {output.name for output in metadata.outputs} == set(expected)
        assert list(metadata.versions) == [version]
        tensor = triton.InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        for outputs in (None, [triton.InferRequestedOutput("mask")]):
            answer = client.infer("engine", [tensor], outputs=outputs, request_id="7", headers=headers)
            assert answer.get_response().id == "7"
            assert answer.get_response().model_version == version
            for name in expected if outputs is None else ["mask"]:
                np.testing.assert_allclose(answer.as_numpy(name), expected[name], atol=1e-6, err_msg=name)
        for name, shape, dtype, words in (
            ("images", [1, 4, 4, 2], "UINT8", "StatusCode.INVALID_ARGUMENT"),
            ("pictures", [1, 4, 4, 1], "UINT8", "StatusCode.INVALID_ARGUMENT"),
            ("images", [1, 4, 4, 1], "UINT16", "StatusCode.INVALID_ARGUMENT"),
            ("images", [1, 1001, 1000, 1], "UINT8", "StatusCode.RESOURCE_EXHAUSTED"),
            ("images", [5, 1000, 1000, 1], "UINT8", "StatusCode.RESOURCE_EXHAUSTED"),
        ):
            bad = triton.InferInput(name, shape, dtype)
            bad.set_data_from_numpy(np.zeros(shape, dtype.lower()))
            with pytest.raises(InferenceServerException) as caught:
                client.infer("engine", [bad], headers=headers)
            assert caught.value.status() == words
        assert client.infer("engine", [tensor], headers=headers).as_numpy("mask").shape == (3, 48, 64, 1)


def check_grpc_over_tls(port: int, certificate: str) -> None:
    """Ask a server whether it is ready, over TLS."""
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(f"localhost:{port}", ssl=True, root_certificates=certificate) as client:
        assert client.is_server_ready()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tinyunet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
