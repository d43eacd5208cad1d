"""The checks of a run's services before its job is made, against a real MLflow and a real MinIO."""

import re

import pytest

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.launch import preconditions
from tinyunet.launch.preconditions import check_services
from tinyunet.storage import s3


def test_the_check_leaves_nothing_beside_the_artifact(prefix: str) -> None:
    check_services(f"{prefix.replace('s3://', 'minio://')}/ingest/1/raw")
    assert s3.list_objects(prefix) == []


@pytest.mark.parametrize(
    ("variables", "uri", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": "another"}, "minio://tinyunet/run/raw", "does not know AWS_ACCESS_KEY_ID"),
        ({}, "minio://absent-bucket/run/raw", "no bucket of that name"),
    ],
)
def test_a_store_that_cannot_be_written_is_found(
    variables: dict[str, str], uri: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{message}.*{re.escape('make connect NAMESPACE=… STORE=…')}"):
        check_services(uri)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("MLFLOW_TRACKING_URI", "no answer from MLflow"),
        ("S3_ENDPOINT_URL", "no answer from the object store"),
    ],
)
def test_a_service_that_is_down_is_found(
    variable: str, message: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preconditions, "RETRY_S", 0.0)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=message):
        check_services(f"{prefix}/raw")
