"""Proxies, CA files and credentials, as the environment gives them."""

from pathlib import Path

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH as PUBLIC

from tests.servers import forget_network, private_ca
from tinyunet.core import network
from tinyunet.core.errors import UserError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_network(monkeypatch)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:5000",
        "http://127.0.0.1:5000",
        "http://127.0.1.9:5000",
        "https://[::1]:5000",
        "http://minio.tinyunet.svc:9000",
        "http://mlflow.tinyunet.svc.cluster.local:5000/x",
    ],
)
@pytest.mark.parametrize("given", ["", "other.example.test"])
def test_this_machine_and_the_cluster_are_reached_without_the_proxy(
    url: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", given)
    assert network.proxy_for(url) is None


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"ALL_PROXY": "http://proxy:3128\n"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.test"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "a.test, *.example.test"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "ample.org"}, "http://proxy:3128"),
    ],
)
def test_other_servers_are_reached_through_the_proxy_of_their_scheme(
    variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert network.proxy_for("https://store.example.test:9000/x") == proxy


@pytest.mark.parametrize("proxy", ["socks5://me:hidden@proxy:1080", "http://me:hidden@proxy:port", "http://"])
def test_a_proxy_of_another_kind_is_refused_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UserError, match="expected http://host:port: correct HTTP_PROXY") as caught:
        network.proxy_for("https://store.example.test")
    assert "hidden" not in str(caught.value)


def test_the_password_of_a_proxy_is_sent_to_the_proxy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40w@proxy:3128")
    pool = network.open_pool("https://store.example.test", network.tls_context(None))
    assert str(pool.proxy) == "http://proxy:3128"  # type: ignore[attr-defined]
    assert pool.proxy_headers == {"proxy-authorization": "Basic bWU6cEB3"}  # type: ignore[attr-defined]


def test_white_space_at_the_ends_of_a_credential_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", " key\r\n")
    assert network.read_credential("AWS_ACCESS_KEY_ID") == "key"
    monkeypatch.setenv("KFP_COOKIES", "a=b; c=d\n")
    assert network.read_credential("KFP_COOKIES", spaces=True) == "a=b; c=d"


@pytest.mark.parametrize("value", ["hidden\nhidden", "hid den", "\ufeffhidden", "hidden\tx", "hid\u00e9"])
def test_a_credential_that_no_header_can_contain_is_named_but_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", value)
    with pytest.raises(UserError, match="AWS_ACCESS_KEY_ID contains a line break") as caught:
        network.read_credential("AWS_ACCESS_KEY_ID")
    assert "hid" not in str(caught.value).replace("shown", "")


@pytest.mark.parametrize("name", network.CA_VARIABLES)
def test_a_file_without_certificates_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca").write_text("no certificate")
    for path in (tmp_path / "ca", tmp_path / "missing"):
        monkeypatch.setenv(name, str(path))
        with pytest.raises(UserError, match=rf"{name} is '{path}' \(.*; expected a file of PEM certificates"):
            network.ca_file()


def test_the_variable_of_a_client_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path))
    assert network.ca_file("AWS_CA_BUNDLE") == str(tmp_path)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return private_ca(tmp_path_factory.mktemp("ca"))[0]


@pytest.fixture
def mounted(certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mounted ConfigMap of a pod, and an empty folder for temporary files."""
    monkeypatch.setattr(network, "CA_MOUNT", certificates)
    monkeypatch.setattr(network.tempfile, "tempdir", str(tmp_path))
    return certificates


def subjects(path: str | None) -> set[str]:
    return {str(one["subject"]) for one in network.tls_context(path).get_ca_certs()}


def test_the_mounted_certificates_are_trusted_beside_the_public_ones(mounted: Path, tmp_path: Path) -> None:
    path = network.ca_file()
    public = subjects(PUBLIC)
    assert len(public) > 50
    assert subjects(path) >= public | subjects(str(mounted))
    assert network.ca_file("AWS_CA_BUNDLE") == path
    assert [str(file) for file in tmp_path.iterdir()] == [path]


def test_a_damaged_bundle_of_another_process_is_written_again(mounted: Path) -> None:
    path = network.ca_file()
    assert path is not None
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:1000])
    assert network.ca_file() == path
    assert Path(path).read_bytes() == content


def test_a_variable_takes_precedence_over_the_mounted_certificates(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", PUBLIC)
    assert network.ca_file() == PUBLIC


def test_a_mounted_file_without_certificates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").write_text("")
    monkeypatch.setattr(network, "CA_MOUNT", tmp_path / "empty")
    with pytest.raises(UserError, match=r"ca\.crt of the ConfigMap tinyunet-ca is .*; expected a file"):
        network.ca_file()


def test_without_variable_and_mount_a_client_trusts_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CA_MOUNT", Path("/etc/tinyunet-ca-that-does-not-exist"))
    assert network.ca_file() is None


def test_the_credentials_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-long-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    text = "key a-long-secret Credential=AKIA/2026, Signature=0f"
    assert network.hide_credentials(text) == "key *** Credential=***, Signature=***"
