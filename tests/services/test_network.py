"""A real MinIO and a real MLflow behind a proxy or a private CA, and with wrong credentials."""

import os
import time
from pathlib import Path

import pytest

from tests.servers import PUBLIC_NAME, forget_network, forward_proxy, front, private_ca
from tinyunet.cli.main import main
from tinyunet.core import network
from tinyunet.core.errors import UserError
from tinyunet.core.network import CA_VARIABLES
from tinyunet.devtools import reachability
from tinyunet.storage import s3
from tinyunet.tracking.client import mlflow_errors, open_client

Certificates = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _no_settings(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_network(monkeypatch)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return private_ca(tmp_path_factory.mktemp("ca"))


def mlflow_experiments() -> list[str]:
    with mlflow_errors(short_timeout=True):
        return [experiment.name for experiment in open_client().search_experiments()]


def test_white_space_at_the_ends_of_the_settings_is_ignored(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Secret that is made from a file has a line break at its end."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "S3_ENDPOINT_URL")
    for name in (*names, "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, f" {os.environ[name]}\r\n")
    s3.write_bytes(f"{prefix}/x", b"1")
    assert s3.read_bytes(f"{prefix}/x") == b"1"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token\n")
    assert "Default" in mlflow_experiments()


KEY_ID, SECRET, TOKEN = "AKIAFORBIDDENKEYID00", "forbidden-secret-0123456789", "forbidden-token-0123456789"
FAILURES: dict[str, dict[str, str]] = {
    "unknown key": {},
    "a line break inside the key": {"AWS_ACCESS_KEY_ID": f"{KEY_ID}\n{KEY_ID}"},
    "a line break inside the secret": {"AWS_SECRET_ACCESS_KEY": f"{SECRET}\n{SECRET}"},
    "a blank inside the region": {"AWS_DEFAULT_REGION": "eu central"},
    "another region": {"AWS_DEFAULT_REGION": "eu-central-1"},
    "a line break inside a session token": {"AWS_SESSION_TOKEN": f"{TOKEN}\n{TOKEN}"},
    "an invalid session token": {"AWS_SESSION_TOKEN": TOKEN},
    "a line break inside MLflow's token": {"MLFLOW_TRACKING_TOKEN": f"{TOKEN}\n{TOKEN}"},
    "no server": {
        "S3_ENDPOINT_URL": "http://127.0.0.1:9",
        "MLFLOW_TRACKING_URI": f"http://me:{SECRET}@127.0.0.1:9",
        "MLFLOW_TRACKING_TOKEN": TOKEN,
    },
}


@pytest.mark.parametrize("changes", FAILURES.values(), ids=FAILURES)
def test_no_credential_and_no_header_is_printed(
    changes: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    credentials = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    for name, value in {**credentials, "MLFLOW_TRACKING_TOKEN": "", **changes}.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out"
    assert main(["ingest", "s3://tinyunet/x", "--out", str(out), "--class-id", "1"]) == 2
    if any(name.startswith("MLFLOW_") for name in changes):
        assert main(["predict", "--model", "models:/none@champion", str(tmp_path), "--out", str(out)]) == 2
    checks = [reachability.credentials(), reachability.store(), reachability.tracking()]
    assert not out.exists()
    output = capfd.readouterr()
    assert "Traceback" not in output.err
    shown = output.out + output.err + str(checks)
    words = (KEY_ID, SECRET, TOKEN, "Signature", "Authorization", "AWS4-HMAC", "Bearer")
    assert [word for word in words if word.lower() in shown.lower() + caplog.text.lower()] == []


@pytest.mark.parametrize("variable", [*CA_VARIABLES, ""])
def test_a_private_ca_is_named_and_trusted_if_a_variable_names_its_file_or_it_is_mounted(
    variable: str, prefix: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, pem = certificates
    store, server = os.environ["S3_ENDPOINT_URL"], os.environ["MLFLOW_TRACKING_URI"]
    with front(store, pem) as store_port, front(server, pem) as server_port:
        monkeypatch.setenv("S3_ENDPOINT_URL", f"https://127.0.0.1:{store_port}")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://127.0.0.1:{server_port}")
        start = time.monotonic()
        for call, name in ((s3.list_buckets, "AWS_CA_BUNDLE"), (mlflow_experiments, "REQUESTS_CA_BUNDLE")):
            with pytest.raises(UserError, match="the certificate of the server is not accepted") as caught:
                call()
            assert str(caught.value).endswith(f"set {name} to a file with the CA of the server")
        assert "certificate" in reachability.tracking().detail
        assert time.monotonic() - start < 15
        if variable:
            monkeypatch.setenv(variable, str(ca))
        else:
            monkeypatch.setattr(network, "CA_MOUNT", ca)
        s3.write_bytes(f"{prefix}/x", b"1")
        assert s3.read_bytes(f"{prefix}/x") == b"1"
        assert "Default" in mlflow_experiments()
        assert reachability.tracking().status == "ok"


def test_local_servers_are_reached_without_the_proxy(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    s3.write_bytes(f"{prefix}/x", b"1")
    assert "Default" in mlflow_experiments()
    assert reachability.tracking().status == "ok"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_other_servers_are_reached_through_the_proxy(
    tls: bool, prefix: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, pem = certificates
    store, server = os.environ["S3_ENDPOINT_URL"], os.environ["MLFLOW_TRACKING_URI"]
    with forward_proxy() as proxy, front(store, pem) as store_port:
        url = f"https://127.0.0.1:{store_port}" if tls else store
        monkeypatch.setenv("S3_ENDPOINT_URL", url.replace("127.0.0.1", PUBLIC_NAME))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("127.0.0.1", PUBLIC_NAME))
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        s3.write_bytes(f"{prefix}/x", b"1" * 70_000)
        assert s3.read_bytes(f"{prefix}/x") == b"1" * 70_000
        assert s3.list_objects(prefix) == [f"{prefix}/x"]
        first = f"CONNECT {PUBLIC_NAME}:{store_port}" if tls else f"PUT {os.environ['S3_ENDPOINT_URL']}/"
        assert proxy.requests[0].startswith(first)
        with pytest.raises(UserError, match="refuses this host name"):  # the answer of the real MLflow
            mlflow_experiments()
        proxy.refuses = True
        with pytest.raises(UserError, match="the proxy"):
            s3.read_bytes(f"{prefix}/x")
        count = len(proxy.requests)
        monkeypatch.setenv("no_proxy", "example.test")
        for call in (s3.list_buckets, mlflow_experiments):
            with pytest.raises(UserError, match="answer") as caught:
                call()
            assert "the proxy" not in str(caught.value)
        assert len(proxy.requests) == count
