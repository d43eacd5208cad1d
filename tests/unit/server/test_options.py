"""The options of the server: what is refused before it starts."""

from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.network import is_loopback
from tinyunet.server.lifecycle import check
from tinyunet.server.options import ServeOptions


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.7", False),
    ],
)  # fmt: skip
def test_only_loopback_needs_no_token(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert ServeOptions(host=host, token_file=Path("token")).host == host
    assert ServeOptions(host=host, no_auth=True).host == host
    if not loopback:
        with pytest.raises(UserError, match="without authentication; give a token"):
            ServeOptions(host=host)


@pytest.mark.parametrize("host", ["", "no..name", "no-such-host.invalid"])
def test_a_host_without_an_address_is_refused_by_name(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(UserError, match=f"--host {host!r} cannot be resolved .*; expected an address"):
        ServeOptions(host=host)
    with pytest.raises(UserError, match="cannot be resolved"):
        check(ServeOptions(host=host, no_auth=True))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", 65536, "--port is 65536; expected a port, 0 to 65535"),
        ("grpc_port", -1, "--grpc-port is -1"),
        ("queue", 0, "--queue is 0; expected a number above 0"),
        ("max_bytes", -5, "--max-bytes is -5"),
        ("read_timeout", 0.0, "--read-timeout is 0.0; expected seconds above 0"),
        ("drain", -1.0, "--drain is -1.0; expected 0 to 3600 seconds"),
        ("tls_key", Path("key.pem"), "one of --tls-certificate and --tls-key is given"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ServeOptions(**{name: value})  # type: ignore[arg-type]
