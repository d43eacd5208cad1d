"""Addresses of servers that no client can read."""

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.urls import split_url

LONG = "a" * 64


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "https://h:1/p?q#f",
        "http://[::1]:9",
        "http://a_b.c.",
        "http://ü.de",
        f"http://{LONG[1:]}.de",
    ],
)
def test_a_valid_address_is_split(url: str) -> None:
    assert split_url("URI", url, "a server").geturl() == url


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1",
        "http://h:x",
        "http://h:99999",
        "http://a b",
        "http://a..b",
        f"http://{LONG}.de",
        "",
    ],
)
def test_a_damaged_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"URI is '.*'; expected a server"):
        split_url("URI", url, "a server")


@pytest.mark.parametrize("password", ["secret", "sec/ret", "sec@ret", "sec ret?#"])
def test_a_password_with_any_characters_is_not_shown(password: str) -> None:
    with pytest.raises(UserError, match=r"URI is 'http://\*\*\*@h:x'") as caught:
        split_url("URI", f"http://user:{password}@h:x", "a server")
    assert "ret" not in str(caught.value)
