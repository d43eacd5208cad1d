"""Where a model comes from: code revision and lock of the dependencies."""

import hashlib
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def provenance() -> dict[str, str]:
    """Give both under the names that model.json and MLflow's tags use."""
    return {"git_revision": git_revision(), "lock_digest": lock_digest()}


def git_revision() -> str:
    """Give the revision of the code, with `-dirty` for local changes; images set TINYUNET_GIT_REVISION."""
    if revision := os.environ.get("TINYUNET_GIT_REVISION"):
        return revision
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git here
        return "unknown"
    return result.stdout.strip() or "unknown"


def lock_digest() -> str:
    """Give the SHA-256 of requirements.lock, 12 hex digits; images set TINYUNET_LOCK_DIGEST."""
    if digest := os.environ.get("TINYUNET_LOCK_DIGEST"):
        return digest
    lock = REPOSITORY / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.is_file() else "unknown"
