"""The script of the Kubernetes Job that makes the servers' key for kept images, run against a real MinIO."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from minio import Minio, MinioAdmin, S3Error
from minio.credentials import EnvAWSProvider

from tests.conftest import Services

SCRIPT = Path(__file__).parents[2] / "k8s/components/review/key.py"


def permit(bucket: str, key: str, secret: str) -> None:
    """Run the script as the Job does."""
    values = {"REVIEW_AWS_ACCESS_KEY_ID": key, "REVIEW_AWS_SECRET_ACCESS_KEY": secret}
    subprocess.run([sys.executable, SCRIPT, bucket], check=True, env=os.environ | values)


def test_the_key_reaches_the_buckets_that_were_named_and_nothing_else(
    services: Services, tmp_path: Path
) -> None:
    key, secret = f"review-{secrets.token_hex(4)}", secrets.token_hex(16)
    first, second = f"first-{key}", f"second-{key}"
    permit(first, key, "another-secret")
    for bucket in (first, first, second):
        permit(bucket, key, secret)
    address = urlsplit(services.env["S3_ENDPOINT_URL"]).netloc
    store = Minio(address, key, secret, secure=False)
    file = tmp_path / "file"
    file.write_text("content")
    for bucket in (first, second):
        store.fput_object(bucket, "a/b", str(file))
        assert [one.object_name for one in store.list_objects(bucket, recursive=True)] == ["a/b"]
        store.stat_object(bucket, "a/b")
        store.remove_object(bucket, "a/b")
    for forbidden in (
        lambda: list(store.list_objects("mlflow")),
        lambda: store.fput_object("tinyunet", "a", str(file)),
        lambda: store.make_bucket(f"third-{key}"),
        lambda: store.remove_bucket(first),
    ):
        with pytest.raises(S3Error, match="AccessDenied"):
            forbidden()
    admin = MinioAdmin(endpoint=address, credentials=EnvAWSProvider(), secure=False)
    admin.user_remove(key)
    root = Minio(address, secure=False, credentials=EnvAWSProvider())
    for bucket in (first, second):
        root.remove_bucket(bucket)
        admin.policy_remove(f"review-{bucket}")
