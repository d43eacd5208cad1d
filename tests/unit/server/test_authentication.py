"""The bearer token: what is accepted, and a file that changes."""

from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.server.authentication import TokenFile

FIRST, SECOND = "first-token-of-32-characters-abcd", "second-token-of-32-characters-abc"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(FIRST + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (f"Bearer {FIRST}", True),
        (f"bearer  {FIRST} ", True),
        (f"Basic {FIRST}", False),
        (FIRST, False),
        ("Bearer", False),
        ("", False),
        (f"Bearer {FIRST}x", False),
        (f"Bearer {FIRST[:-1]}", False),
        ("Bearer \xe4\xf6\xfc", False),
    ],
)
def test_only_the_token_as_a_bearer_is_accepted(file: Path, header: str, accepted: bool) -> None:
    assert TokenFile(file).accepts(header) is accepted


def test_a_new_token_counts_without_a_restart(file: Path) -> None:
    token = TokenFile(file)
    file.write_text(SECOND)
    assert token.accepts(f"Bearer {SECOND}")
    assert not token.accepts(f"Bearer {FIRST}")


def test_a_replaced_link_counts_as_a_secret_of_kubernetes_replaces_it(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    token = TokenFile(link)
    (tmp_path / "next").write_text(SECOND)
    (tmp_path / "new").symlink_to(tmp_path / "next")
    (tmp_path / "new").replace(link)
    assert token.accepts(f"Bearer {SECOND}")


@pytest.mark.parametrize("content", ["", "short", "two words of more than sixteen"])
def test_the_last_token_stays_while_the_file_is_not_usable(file: Path, content: str) -> None:
    token = TokenFile(file)
    file.write_text(content)
    assert token.accepts(f"Bearer {FIRST}")
    assert not token.accepts(f"Bearer {content}")
    file.unlink()
    assert token.accepts(f"Bearer {FIRST}")


def test_a_short_or_missing_token_is_refused_at_the_start_without_printing_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        TokenFile(tmp_path / "none")
    (tmp_path / "token").write_text("hunter2")
    with pytest.raises(UserError, match="holds 7 characters; expected one word of at least 16") as caught:
        TokenFile(tmp_path / "token")
    assert "hunter2" not in str(caught.value)
