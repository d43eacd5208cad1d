"""Revision and lock digest: of the repository, of an image, and without a repository."""

import hashlib
from pathlib import Path

import pytest

from tinyunet.training import provenance


def test_the_digest_is_that_of_the_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYUNET_LOCK_DIGEST", raising=False)
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    assert provenance.lock_digest() == "unknown"
    (tmp_path / "requirements.lock").write_bytes(b"keras==3\n")
    assert provenance.lock_digest() == hashlib.sha256(b"keras==3\n").hexdigest()[:12]


def test_a_folder_without_git_has_an_unknown_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYUNET_GIT_REVISION", raising=False)
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    assert provenance.git_revision() == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_revision() == "unknown", "git is not installed"


def test_the_variables_of_an_image_have_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYUNET_GIT_REVISION", "abc")
    monkeypatch.setenv("TINYUNET_LOCK_DIGEST", "def")
    assert provenance.provenance() == {"git_revision": "abc", "lock_digest": "def"}


@pytest.mark.parametrize("variable", ["TINYUNET_GIT_REVISION", "KUBERNETES_SERVICE_HOST"])
def test_the_tag_of_a_run_says_whether_it_runs_in_an_image(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TINYUNET_GIT_REVISION", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert provenance.image_tag() == {"in_image": "False"}
    monkeypatch.setenv(variable, "abc")
    assert provenance.image_tag() == {"in_image": "True"}
