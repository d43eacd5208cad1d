"""Where the manifests take their settings from."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.resources import SETTINGS_KEYS

K8S = Path(__file__).parents[2] / "k8s"
STORE = {"MLFLOW_ARTIFACTS_DESTINATION", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION"}


def settings(path: str) -> dict[str, Any]:
    """The ConfigMap `tinyunet` of a file."""
    found = yaml.safe_load_all((K8S / path).read_text())
    (data,) = (one["data"] for one in found if one["metadata"]["name"] == "tinyunet")
    return data


def test_mlflow_reads_bucket_endpoint_and_region_from_the_settings() -> None:
    text = (K8S / "components/mlflow/deployment.yaml").read_text()
    (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    references = [one["valueFrom"].get("configMapKeyRef") for one in container["env"] if "valueFrom" in one]
    assert {one["key"] for one in references if one} == STORE
    assert "s3://" not in text


def test_the_settings_are_complete_and_production_says_anew_all_that_is_of_its_store() -> None:
    assert settings("base/configmap.yaml").keys() == STORE | set(SETTINGS_KEYS)
    assert settings("overlays/production/endpoints.yaml").keys() == STORE
