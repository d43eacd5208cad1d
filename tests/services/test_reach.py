"""The check that `make connect` runs in a pod, against a real MLflow and a real MinIO."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import front, private_ca

SCRIPT = Path(__file__).parents[2] / "k8s" / "reach.py"


def run(ca: Path = Path("/etc/tinyunet-ca/ca.crt"), **changes: str) -> tuple[int, list[str]]:
    """Run the script as the pod does; return its exit code and the lines that it prints."""
    settings = {"AWS_DEFAULT_REGION": "us-east-1"} | changes
    command = [sys.executable, "-c", SCRIPT.read_text().replace("/etc/tinyunet-ca/ca.crt", str(ca))]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_nothing_is_reported_if_both_services_answer() -> None:
    assert run() == (0, ["ok"])


@pytest.mark.parametrize(
    ("variable", "code"),
    [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")],
)
def test_a_key_of_another_store_is_found(variable: str, code: str) -> None:
    endpoint = os.environ["S3_ENDPOINT_URL"]
    assert run(**{variable: "the-key-of-another-store"}) == (
        1,
        [f"the object store {endpoint} refuses the key of tinyunet-s3 ({code})"],
    )


def test_every_service_that_does_not_answer_has_a_line() -> None:
    code, lines = run(MLFLOW_TRACKING_URI="http://127.0.0.1:1", S3_ENDPOINT_URL="http://127.0.0.1:1")
    assert code == 1
    assert [line.split(" (")[0] for line in lines] == [
        "MLflow at http://127.0.0.1:1 does not answer",
        "the object store http://127.0.0.1:1 does not answer",
    ]


def test_a_server_with_a_private_ca_is_reached_if_its_certificate_is_mounted(tmp_path: Path) -> None:
    ca, pem = private_ca(tmp_path)
    with (
        front(os.environ["S3_ENDPOINT_URL"], pem) as store,
        front(os.environ["MLFLOW_TRACKING_URI"], pem) as server,
    ):
        changes = {
            "S3_ENDPOINT_URL": f"https://127.0.0.1:{store}",
            "MLFLOW_TRACKING_URI": f"https://127.0.0.1:{server}",
        }
        code, lines = run(**changes)
        assert (code, ["certificate verify failed" in line for line in lines]) == (1, [True, True])
        assert run(ca, **changes) == (0, ["ok"])
