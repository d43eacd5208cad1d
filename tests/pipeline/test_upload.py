"""Uploads: idempotent, in the right namespace, with every error in one line."""

import hashlib
import subprocess
from functools import partial
from pathlib import Path

import pytest
from fake_kfp import FakeKfp

from pipeline import compile as compiling
from pipeline import kubeflow, upload
from tests.servers import PUBLIC_NAME, forward_proxy

pytestmark = pytest.mark.usefixtures("no_kubeflow")


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert upload.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tinyunet: error: ")
    return line


def test_the_version_is_named_after_the_content(kfp: FakeKfp, build: Path) -> None:
    assert upload.main(["--host", kfp.host]) == 0
    digest = hashlib.sha256((build / "tinyunet-cpu.yaml").read_bytes()).hexdigest()[:12]
    assert [v["display_name"] for v in kfp.versions] == ["tinyunet", f"0.1.0-cpu-{digest}"]
    assert kfp.versions[1]["file"] == (build / "tinyunet-cpu.yaml").read_text()


def test_uploading_twice_changes_nothing_and_reports_it(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upload.main(["--host", kfp.host]) == 0
    before = list(kfp.versions)
    assert "uploaded" in capsys.readouterr().out
    assert upload.main(["--host", kfp.host]) == 0
    assert "already there" in capsys.readouterr().out
    assert kfp.versions == before


def test_a_changed_pipeline_becomes_another_version(
    kfp: FakeKfp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload.main(["--host", kfp.host])
    compiling.compile_variant("cpu", tmp_path, image="registry.example.org/other-python:2")
    monkeypatch.setattr(upload, "BUILD", tmp_path)
    upload.main(["--host", kfp.host])
    assert len(kfp.pipelines) == 1
    assert len({v["display_name"] for v in kfp.versions}) == 3


def test_a_pipeline_that_another_client_creates_meanwhile_is_used(kfp: FakeKfp) -> None:
    kfp.race = True
    assert upload.main(["--host", kfp.host]) == 0
    assert len(kfp.pipelines) == 1
    assert kfp.versions[-1]["pipeline_id"] == kfp.pipelines[0]["pipeline_id"]


def test_a_version_that_another_client_uploads_meanwhile_is_no_error(
    kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload.main(["--host", kfp.host])
    find_version, calls = upload._find_version, []

    def find_late(*arguments: object) -> str:
        calls.append(arguments)
        return "" if len(calls) == 1 else find_version(*arguments)

    monkeypatch.setattr(upload, "_find_version", find_late)
    assert upload.main(["--host", kfp.host]) == 0
    assert len(calls) == 2


def test_a_private_pipeline_is_found_in_its_namespace(kfp: FakeKfp) -> None:
    kfp.namespaces = ("anna", "bert")
    for namespace in ("anna", "bert", "anna"):
        assert upload.main(["--host", kfp.host, "--namespace", namespace]) == 0
    assert [p["namespace"] for p in kfp.pipelines] == ["anna", "bert"]
    assert len(kfp.versions) == 4


def test_the_default_is_the_namespace_in_kfps_context_file(kfp: FakeKfp, tmp_path: Path) -> None:
    (tmp_path / "context.json").write_text('{"namespace": "anna"}')
    kfp.namespaces = ("anna",)
    assert upload.main(["--host", kfp.host]) == 0
    assert [p["namespace"] for p in kfp.pipelines] == ["anna"]


def test_the_error_of_a_foreign_namespace_names_it(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.namespaces = ("anna",)
    line = error_line(capsys, "--host", kfp.host, "--namespace", "eve")
    assert "403" in line
    assert "namespace eve" in line


def test_a_single_user_server_ignores_a_namespace(kfp: FakeKfp) -> None:
    assert upload.main(["--host", kfp.host, "--namespace", "anna"]) == 0


def test_the_token_is_sent(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "secret-token"
    line = error_line(capsys, "--host", kfp.host)
    assert "401" in line
    assert "KFP_TOKEN" in line
    monkeypatch.setenv("KFP_TOKEN", "secret-token")
    assert upload.main(["--host", kfp.host]) == 0


def test_the_session_cookie_is_sent(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.cookie = "authservice_session=abc"
    assert "KFP_COOKIES" in error_line(capsys, "--host", kfp.host)
    monkeypatch.setenv("KFP_COOKIES", "authservice_session=abc")
    assert upload.main(["--host", kfp.host]) == 0


def test_a_pods_service_account_token_is_sent(
    kfp: FakeKfp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "pod-token"
    (tmp_path / "token").write_text("pod-token")
    monkeypatch.setattr(kubeflow, "POD_TOKEN", tmp_path / "token")
    mounted = partial(kubeflow.ServiceAccountTokenVolumeCredentials, path=str(tmp_path / "token"))
    monkeypatch.setattr(kubeflow, "ServiceAccountTokenVolumeCredentials", mounted)
    assert upload.main(["--host", kfp.host]) == 0


def test_no_secret_is_printed(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "right"
    monkeypatch.setenv("KFP_TOKEN", "wrong-but-secret")
    assert "wrong-but-secret" not in error_line(capsys, "--host", kfp.host)


def test_a_login_page_is_detected(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.page = True
    assert "web page" in error_line(capsys, "--host", kfp.host)


@pytest.mark.parametrize("name", ["KFP_TOKEN", "KFP_COOKIES"])
def test_credentials_are_not_sent_to_the_host_of_a_redirect(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "credential")
    with FakeKfp().serving() as other:
        kfp.redirect = other.host.replace("127.0.0.1", "localhost") + "/dex/auth?state=secret"
        line = error_line(capsys, "--host", kfp.host)
    assert "a redirect to http://localhost, not the API; set KFP_TOKEN or KFP_COOKIES" in line
    assert len(kfp.credentials) == 1
    assert other.log == []


def test_a_redirect_on_the_same_host_is_reported_too(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.redirect = "/dex/auth"
    assert "a redirect to http://127.0.0.1, not the API" in error_line(capsys, "--host", kfp.host)


@pytest.fixture
def in_a_pod(kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod of the cluster that this API belongs to."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(kubeflow, "IN_CLUSTER", kfp.host)


def test_the_api_of_a_pods_cluster_is_in_the_namespace_kubeflow() -> None:
    assert kubeflow.IN_CLUSTER == "http://ml-pipeline.kubeflow:8888"


@pytest.mark.usefixtures("in_a_pod")
@pytest.mark.parametrize("token", ["", "pod-token"])
def test_in_a_pod_no_host_is_needed_and_no_url_is_printed(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    kfp.token, kfp.namespaces = token, ("anna",)
    monkeypatch.setenv("KFP_TOKEN", token)
    assert upload.main(["--namespace", "anna"]) == 0
    assert [p["namespace"] for p in kfp.pipelines] == ["anna"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("uploaded")


def test_the_api_of_a_kubeconfigs_cluster_is_in_the_namespace_kubeflow(
    kfp: FakeKfp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {}
    monkeypatch.setattr("kfp.Client", lambda **arguments: used.update(arguments))
    (tmp_path / "none").touch()
    kubeflow.connect("", "anna")
    assert (used["host"], used["namespace"]) == (None, "kubeflow")


def test_a_token_without_a_host_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK would send the token to localhost."""
    (tmp_path / "none").touch()
    monkeypatch.setenv("KFP_TOKEN", "token")
    assert "no host: KFP_TOKEN is set" in error_line(capsys)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), ("other", "NO_CERTIFICATE_OR_CRL_FOUND")]
)
def test_the_error_of_an_invalid_ca_file_names_it(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, reason: str,
) -> None:  # fmt: skip
    (tmp_path / "other").write_text("no certificate")
    monkeypatch.setenv("KFP_CA_CERT", str(tmp_path / name))
    line = error_line(capsys, "--host", kfp.host)
    assert f"KFP_CA_CERT is '{tmp_path / name}'" in line
    assert f"{reason}); expected a file of PEM certificates" in line
    assert kfp.log == []


@pytest.mark.parametrize("name", ["KFP_CA_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_server_with_a_private_ca_needs_the_file_of_the_ca(
    no_kubeflow: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:  # fmt: skip
    pem = tmp_path / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=own",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out", tmp_path / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with pem.open("a") as file:
        file.write((tmp_path / "crt").read_text())
    with FakeKfp().serving(pem) as kfp:
        line = error_line(capsys, "--host", kfp.host)
        assert f"{kfp.host}: the certificate of the server is not accepted (self-signed certificate)" in line
        assert line.endswith("; set KFP_CA_CERT to a file with the CA of the server")
        assert kfp.log == []
        monkeypatch.setenv(name, str(pem))
        assert upload.main(["--host", kfp.host]) == 0


@pytest.mark.parametrize("name", ["KFP_TOKEN", "KFP_COOKIES"])
def test_credentials_with_a_line_break_are_named_but_not_shown(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "hidden\nhidden")
    line = error_line(capsys, "--host", kfp.host)
    assert f"{name} contains a line break" in line
    assert "hidden" not in line
    monkeypatch.setenv(name, "a=b\n")
    assert upload.main(["--host", kfp.host]) == 0


def test_the_api_is_reached_without_a_proxy(
    no_kubeflow: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert "does not answer" in error_line(capsys, "--host", f"http://{PUBLIC_NAME}")
        assert proxy.requests == []


def test_ctrl_c_prints_one_line(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kfp.Client.upload_pipeline", interrupt)
    assert upload.main(["--host", kfp.host]) == 130
    assert capsys.readouterr().err == "tinyunet: interrupted\n"


def test_the_error_of_a_url_without_the_api_explains_the_path(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line(capsys, "--host", f"{kfp.host}/elsewhere")
    assert "404" in line
    assert "/pipeline" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--host", "http://127.0.0.1:1"], "does not answer"),
        (["--host", "kubeflow.example.org"], "expected a URL"),
        ([], "HOST="),
        (["--host", "http://127.0.0.1:1", "--variant", "tpu"], "expected one of: cpu, gpu"),
        (["--host", "http://127.0.0.1:1", "--variant", "gpu"], "make pipeline"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in error_line(capsys, *arguments)
