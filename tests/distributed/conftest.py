"""The records of the trainings, converted by another process.

Without TensorFlow, this process compiles pipelines (tests/pipeline) much faster: KFP inspects the stack, and
Python then goes through all imported modules for each frame.
"""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def records(raw: Path, python: str) -> Path:
    """The records of `raw`: train 21 (7 defective), validation 3 (1), test 16 (5); 2 shards each."""
    out = raw.with_name("records")
    command = [python, "-m", "tinyunet", "convert", str(raw), "--out", str(out), "--set", "shards=2"]
    subprocess.run(command, check=True, capture_output=True)
    return out
