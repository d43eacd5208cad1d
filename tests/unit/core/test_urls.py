"""Addresses of servers that no client can read, and the removal of credentials."""

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.urls import redact, split_url

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:pass@host/x", "https://***@host/x"),
        ("postgresql://u:p@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("mysql+pymysql://u:p#?/q@db/mlflow", "mysql+pymysql://***@db/mlflow"),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=abc&part=1",
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=***&part=1",
        ),
        ("https://h/x?a=1&access_token=t", "https://h/x?a=1&access_token=***"),
        ("https://b/k?sv=1&sig=a%2Fb&se=2", "https://b/k?sv=1&sig=***&se=2"),
        (
            '"source": "https://u:p@q@h/x?X-Amz-Credential=k", "n": 1',
            '"source": "https://***@h/x?X-Amz-Credential=***", "n": 1',
        ),
        (
            "Max retries exceeded with url: /x?X-Amz-Security-Token=t (Caused by …)",
            "Max retries exceeded with url: /x?X-Amz-Security-Token=*** (Caused by …)",
        ),
        ('see "https://h/x", mail a@b: key=value', 'see "https://h/x", mail a@b: key=value'),
        ("synthetic://?train=24&seed=7", "synthetic://?train=24&seed=7"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_only_credentials_in_uris_are_replaced(text: str, expected: str) -> None:
    assert redact(text) == expected
