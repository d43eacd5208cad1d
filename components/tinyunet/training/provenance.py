"""The origin of a model: the revision of the code and the lock file of the dependencies."""

import hashlib
import os
import subprocess
from pathlib import Path

from tinyunet.tracking.launched import IN_IMAGE

REPOSITORY = Path(__file__).parents[3]


def provenance() -> dict[str, str]:
    """Return revision and lock digest under the names that model.json and the tags of MLflow use."""
    return {"git_revision": git_revision(), "lock_digest": lock_digest()}


def image_tag() -> dict[str, str]:
    """Return the tag that says whether this process runs in an image of this project, or in a pod."""
    names = ("TINYUNET_GIT_REVISION", "KUBERNETES_SERVICE_HOST")
    return {IN_IMAGE: str(any(name in os.environ for name in names))}


def git_revision() -> str:
    """Return the revision of the code, with `-dirty` for local changes.

    The environment variable TINYUNET_GIT_REVISION, which the container images set, has precedence.
    """
    if revision := os.environ.get("TINYUNET_GIT_REVISION"):
        return revision
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # git is not installed
        return "unknown"
    return result.stdout.strip() or "unknown"


def lock_digest() -> str:
    """Return the SHA-256 of requirements.lock, 12 hex digits.

    The environment variable TINYUNET_LOCK_DIGEST, which the container images set, has precedence.
    """
    if digest := os.environ.get("TINYUNET_LOCK_DIGEST"):
        return digest
    lock = REPOSITORY / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.is_file() else "unknown"
