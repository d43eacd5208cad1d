"""Check that MLflow answers and that the object store accepts the key; print one line for each problem.

connect.sh runs this file in a pod of the namespace that it configured, in the MLflow image, which has boto3
but not the package tinyunet.
Environment: MLFLOW_TRACKING_URI, the variables of tinyunet-mlflow if there is such a Secret, S3_ENDPOINT_URL,
and the variables of AWS for the key and the region.
If the pod has the ConfigMap tinyunet-ca, its certificates are trusted beside the public ones.
"""

import base64
import os
import sys
import tempfile
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

TIMEOUT_S = 8
PRIVATE_CAS, PUBLIC_CAS = Path("/etc/tinyunet-ca/ca.crt"), Path("/etc/ssl/certs/ca-certificates.crt")
KNOWN_KEY = ("AccessDenied", "AllAccessDisabled")  # the signature was right; the key may not list buckets


def trust_private_cas() -> None:
    """Add the certificates of the ConfigMap, if there is one, to those that the clients trust."""
    if PRIVATE_CAS.is_file():
        bundle = Path(tempfile.mkdtemp(), "ca.pem")
        bundle.write_bytes(PUBLIC_CAS.read_bytes() + PRIVATE_CAS.read_bytes())
        os.environ |= {"AWS_CA_BUNDLE": str(bundle), "SSL_CERT_FILE": str(bundle)}


def mlflow_request(uri: str) -> urllib.request.Request:
    """Return a request that MLflow answers if it knows the user and the workspace."""
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/experiments/search?max_results=1")  # noqa: S310
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        login = base64.b64encode(f"{user}:{os.environ['MLFLOW_TRACKING_PASSWORD']}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("X-MLFLOW-WORKSPACE", os.environ["MLFLOW_WORKSPACE"])
    return request


def mlflow_problem() -> str:
    """Return why MLflow cannot be used, or an empty string."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    try:
        with urllib.request.urlopen(mlflow_request(uri), timeout=TIMEOUT_S):  # noqa: S310  the deployment's own URL
            return ""
    except (OSError, HTTPException, ValueError) as error:
        parts = urllib.parse.urlsplit(uri)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
        return f"MLflow at {address} does not answer ({error})"


def store_problem() -> str:
    """Return why the object store cannot be used with this key, or an empty string."""
    endpoint = os.environ["S3_ENDPOINT_URL"]
    settings = Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"max_attempts": 1})
    try:
        boto3.client("s3", endpoint_url=endpoint, config=settings).list_buckets()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return (
            ""
            if code in KNOWN_KEY
            else f"the object store {endpoint} refuses the key of tinyunet-s3 ({code})"
        )
    except (BotoCoreError, ValueError) as error:
        return f"the object store {endpoint} does not answer ({error})"
    return ""


if __name__ == "__main__":
    trust_private_cas()
    problems = [problem for problem in (mlflow_problem(), store_problem()) if problem]
    print("\n".join(problems) or "ok")
    sys.exit(bool(problems))
