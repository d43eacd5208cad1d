"""The script of the Kubernetes Job that creates MinIO's buckets, run against a real MinIO."""

import os
import runpy
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

SCRIPT = Path(__file__).parents[2] / "k8s" / "components" / "buckets" / "buckets.py"


@pytest.fixture
def bucket() -> Iterator[str]:
    """Yield the name of a bucket that no other test uses; delete the bucket afterwards."""
    name = f"test-{secrets.token_hex(6)}"
    yield name
    boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"]).delete_bucket(Bucket=name)


def run(*names: str) -> list[str]:
    """Run the script as the Job does; return the lines that it prints."""
    command = [sys.executable, SCRIPT, *names]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_missing_buckets_are_created_and_existing_ones_are_not_changed(bucket: str) -> None:
    assert run("tinyunet", bucket) == ["bucket tinyunet: exists", f"bucket {bucket}: created"]
    assert run(bucket) == [f"bucket {bucket}: exists"]


class StartingServer:
    """A client of a server that refuses connections until `refusals` of them have failed."""

    def __init__(self, refusals: float) -> None:
        self.refusals = refusals

    def list_buckets(self) -> dict[str, Any]:
        self.refusals -= 1
        if self.refusals >= 0:
            raise EndpointConnectionError(endpoint_url="http://minio:9000")
        return {"Buckets": [{"Name": "mlflow"}]}


@pytest.fixture
def existing_buckets(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], set[str]]:
    """Return the script's function, with a clock that only its own pauses advance."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.append(clock.pop() + seconds))
    function: Callable[[Any], set[str]] = runpy.run_path(str(SCRIPT))["existing_buckets"]
    return function


def test_the_script_waits_for_a_server_that_starts_later(
    existing_buckets: Callable[[Any], set[str]],
) -> None:
    assert existing_buckets(StartingServer(refusals=90)) == {"mlflow"}


def test_the_script_fails_if_the_server_does_not_start(existing_buckets: Callable[[Any], set[str]]) -> None:
    with pytest.raises(EndpointConnectionError):
        existing_buckets(StartingServer(refusals=float("inf")))
