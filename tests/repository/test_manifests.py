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


def objects(kind: str) -> list[dict[str, Any]]:
    """All objects of this kind in base and components."""
    files = [*K8S.glob("base/*.yaml"), *K8S.glob("components/*/*.yaml")]
    return [one for file in files for one in yaml.safe_load_all(file.read_text()) if one["kind"] == kind]


def test_the_namespace_takes_restricted_pods_only_and_every_service_is_one() -> None:
    (namespace,) = objects("Namespace")
    levels = {k: v for k, v in namespace["metadata"]["labels"].items() if k.startswith("pod-security")}
    assert levels == {f"pod-security.kubernetes.io/{k}": "restricted" for k in ("enforce", "warn", "audit")}
    services = [one for kind in ("Deployment", "StatefulSet", "Job") for one in objects(kind)]
    assert len(services) == 4
    for pod in (one["spec"]["template"]["spec"] for one in services):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert [one["securityContext"] for one in pod["containers"]] == [
            {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        ]


def test_nothing_flows_but_what_a_policy_names() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in objects("NetworkPolicy")}
    assert policies.pop("default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    rules = [rule for one in policies.values() for way in ("ingress", "egress") for rule in one.get(way, [])]
    peers = [peer for rule in rules for peer in rule.get("from", []) + rule.get("to", [])]
    assert all(selector["matchLabels"] for peer in peers for selector in peer.values())
    assert all(one["podSelector"] for name, one in policies.items() if name != "dns")


@pytest.mark.parametrize("service", ["minio", "mlflow", "postgres"])
def test_a_service_is_reached_by_those_named_on_its_own_port(service: str) -> None:
    (policy,) = (one["spec"] for one in objects("NetworkPolicy") if one["metadata"]["name"] == service)
    (ports,) = (one["spec"]["ports"] for one in objects("Service") if one["metadata"]["name"] == service)
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": service}}
    (rule,) = policy["ingress"]
    assert rule["from"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["port"]} for port in ports]


def test_no_drain_of_a_node_ends_a_store_that_has_one_replica() -> None:
    budgets = {
        one["metadata"]["name"]: one["spec"]["maxUnavailable"] for one in objects("PodDisruptionBudget")
    }
    assert {one["metadata"]["name"]: 0 for one in objects("StatefulSet")}.items() <= budgets.items()


def test_mlflow_answers_to_every_name_of_its_service() -> None:
    (mlflow,) = objects("Deployment")
    (container,) = mlflow["spec"]["template"]["spec"]["containers"]
    (hosts,) = (one["value"] for one in container["env"] if one["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS")
    parts = ["mlflow", "tinyunet", "svc", "cluster", "local"]
    names = [".".join(parts[:count]) for count in (1, 2, 3, 5)]
    assert {*names, *(f"{name}:*" for name in names)} <= set(hosts.split(","))
    assert names[-1] in settings("base/configmap.yaml")["MLFLOW_TRACKING_URI"]


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
