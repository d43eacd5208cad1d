"""Where the manifests take their settings from, and what `deploy.sh` makes of them."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
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


# Writes down what it is asked; `there` is the image of the Job in the cluster, whose pods cannot change.
KUBECTL = """\
#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
  kustomize*) printf 'image: tinyunet/mlflow:0.1.0\\nimage: docker.io/library/postgres:17\\n' ;;
  "apply --dry-run=server -f -") grep -qx "image: $(cat there)" || exit 1 ;;
  "apply -f -") echo apply >>asked; cat >applied ;;
  *"delete job"*) echo "$*" >>asked ;;
esac
"""


@pytest.mark.parametrize(
    ("settings", "image", "deleted"),
    [
        ({}, "tinyunet/mlflow:0.1.0", False),
        ({"TAG": "7"}, "tinyunet/mlflow:7", True),
        ({"REGISTRY": "registry.example.org/"}, "registry.example.org/tinyunet/mlflow:0.1.0", True),
    ],
)
def test_a_job_of_another_image_is_deleted_before_the_new_one_is_applied(
    tmp_path: Path, settings: dict[str, str], image: str, deleted: bool
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    (tmp_path / "there").write_text("tinyunet/mlflow:0.1.0")
    nothing = {"KUBECTL": str(kubectl), "REGISTRY": "", "TAG": ""}
    subprocess.run([K8S / "deploy.sh", "local"], env=os.environ | nothing | settings, check=True)
    assert (tmp_path / "applied").read_text() == f"image: {image}\nimage: docker.io/library/postgres:17\n"
    gone = ["-n tinyunet delete job minio-buckets --ignore-not-found"]
    assert (tmp_path / "asked").read_text().splitlines() == [*(gone if deleted else []), "apply"]
