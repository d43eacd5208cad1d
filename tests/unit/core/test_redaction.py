"""Removal of credentials from text."""

import pytest

from tinyunet.core.redaction import redact


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
