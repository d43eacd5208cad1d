"""The settings, security and network rules of the manifests, and the objects that `deploy.sh` applies."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.resources import SETTINGS_KEYS
from tinyunet.core.network import CA_CONFIG_MAP, CA_MOUNT

K8S = Path(__file__).parents[2] / "k8s"
STORE = {"MLFLOW_ARTIFACTS_DESTINATION", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION"}


def settings(path: str) -> dict[str, Any]:
    """Return the data of the ConfigMap `tinyunet` in a file."""
    maps = yaml.safe_load_all((K8S / path).read_text())
    (data,) = (one["data"] for one in maps if one["metadata"]["name"] == "tinyunet")
    return data


def test_mlflow_reads_bucket_endpoint_and_region_from_the_settings() -> None:
    text = (K8S / "components/mlflow/deployment.yaml").read_text()
    (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    references = [one["valueFrom"].get("configMapKeyRef") for one in container["env"] if "valueFrom" in one]
    assert {one["key"] for one in references if one} == STORE
    assert "s3://" not in text


def test_the_settings_are_complete_and_production_replaces_those_of_the_object_store() -> None:
    assert settings("base/configmap.yaml").keys() == STORE | set(SETTINGS_KEYS)
    assert settings("overlays/production/endpoints.yaml").keys() == STORE


def objects(kind: str) -> list[dict[str, Any]]:
    """Return all objects of this kind in base and components."""
    files = [*K8S.glob("base/*.yaml"), *K8S.glob("components/*/*.yaml")]
    return [one for file in files for one in yaml.safe_load_all(file.read_text()) if one["kind"] == kind]


def test_the_namespace_admits_restricted_pods_only_and_every_service_is_restricted() -> None:
    (namespace,) = objects("Namespace")
    levels = {k: v for k, v in namespace["metadata"]["labels"].items() if k.startswith("pod-security")}
    assert levels == {f"pod-security.kubernetes.io/{k}": "restricted" for k in ("enforce", "warn", "audit")}
    services = [one for kind in ("Deployment", "StatefulSet", "Job") for one in objects(kind)]
    assert len(services) == 8
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


def test_all_traffic_is_denied_except_what_a_policy_names() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in objects("NetworkPolicy")}
    assert policies.pop("default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    rules = [
        rule
        for one in policies.values()
        for direction in ("ingress", "egress")
        for rule in one.get(direction, [])
    ]
    peers = [peer for rule in rules for peer in rule.get("from", []) + rule.get("to", [])]
    assert all(selector["matchLabels"] for peer in peers for selector in peer.values())
    assert all(one["podSelector"] for name, one in policies.items() if name != "dns")


@pytest.mark.parametrize("service", ["minio", "seaweedfs", "mlflow", "postgres", "serving"])
def test_a_service_accepts_only_named_peers_and_only_on_its_own_port(service: str) -> None:
    (policy,) = (one["spec"] for one in objects("NetworkPolicy") if one["metadata"]["name"] == service)
    (ports,) = (one["spec"]["ports"] for one in objects("Service") if one["metadata"]["name"] == service)
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": service}}
    (rule,) = policy["ingress"]
    assert rule["from"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["port"]} for port in ports]


def test_draining_a_node_does_not_evict_a_store_with_one_replica() -> None:
    budgets = {
        one["metadata"]["name"]: one["spec"]["maxUnavailable"] for one in objects("PodDisruptionBudget")
    }
    assert {one["metadata"]["name"]: 0 for one in objects("StatefulSet")}.items() <= budgets.items()


def test_mlflow_accepts_every_dns_name_of_its_service() -> None:
    (mlflow,) = (one for one in objects("Deployment") if one["metadata"]["name"] == "mlflow")
    (container,) = mlflow["spec"]["template"]["spec"]["containers"]
    (hosts,) = (one["value"] for one in container["env"] if one["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS")
    parts = ["mlflow", "tinyunet", "svc", "cluster", "local"]
    names = [".".join(parts[:count]) for count in (1, 2, 3, 5)]
    assert {*names, *(f"{name}:*" for name in names)} <= set(hosts.split(","))
    assert names[-1] in settings("base/configmap.yaml")["MLFLOW_TRACKING_URI"]


def test_the_bucket_job_runs_its_script_for_the_buckets_of_the_settings() -> None:
    (job,) = (one for one in objects("Job") if one["metadata"]["name"] == "buckets")
    kustomization = yaml.safe_load((K8S / "components/buckets/kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    (file,) = generated["files"]
    assert (K8S / "components/buckets" / file).is_file()
    pod = job["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    (mount,) = container["volumeMounts"]
    assert volume == {"name": mount["name"], "configMap": {"name": generated["name"]}}
    python, script, *buckets = container["command"]
    assert (python, script) == ("python3", f"{mount['mountPath']}/{file}")
    root = next(one for one in objects("ConfigMap") if one["metadata"]["name"] == "kfp-launcher")
    uris = [
        settings("base/configmap.yaml")["MLFLOW_ARTIFACTS_DESTINATION"],
        root["data"]["defaultPipelineRoot"],
    ]
    assert {uri.split("/")[2] for uri in uris} <= set(buckets)


def test_each_store_has_the_buckets_and_the_label_by_which_its_clients_reach_it() -> None:
    stores = [one for one in objects("StatefulSet") if one["metadata"]["name"] in ("minio", "seaweedfs")]
    assert len(stores) == 2
    for store in stores:
        name = store["metadata"]["name"]
        kustomization = yaml.safe_load((K8S / "components" / name / "kustomization.yaml").read_text())
        assert kustomization["components"] == ["../buckets"]
        assert store["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "store"
    peers = {
        one["metadata"]["name"]
        for one in objects("NetworkPolicy")
        for rule in one["spec"].get("egress", [])
        for peer in rule.get("to", [])
        if peer == {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "store"}}}
    }
    assert peers == {"training", "mlflow", "s3-client"}


def test_seaweedfs_takes_the_place_of_minio_in_the_settings() -> None:
    kustomization = yaml.safe_load((K8S / "components/seaweedfs/kustomization.yaml").read_text())
    values = {
        patch["target"]["name"]: operation["value"]
        for patch in kustomization["patches"]
        if "name" in patch["target"]
        for operation in yaml.safe_load(patch["patch"])
    }
    assert values["tinyunet"] == settings("base/configmap.yaml")["S3_ENDPOINT_URL"].replace(
        "minio", "seaweedfs"
    )
    (launcher,) = (one for one in objects("ConfigMap") if one["metadata"]["name"] == "kfp-launcher")
    providers = launcher["data"]["providers"].replace("minio.tinyunet", "seaweedfs.tinyunet")
    assert yaml.safe_load(values["kfp-launcher"]) == yaml.safe_load(providers)


# A fake kubectl that keeps the kustomization that it is given.
KEEPER = """\
#!/bin/sh
case "$*" in kustomize*) cp "$2/kustomization.yaml" "$(dirname "$0")/kept"; echo 'kind: Namespace' ;; esac
"""


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_another_store_takes_the_place_of_minio_in_a_copy_of_the_overlay(
    overlay: str, tmp_path: Path
) -> None:
    (tmp_path / "kubectl").write_text(KEEPER)
    (tmp_path / "kubectl").chmod(0o755)
    environment = os.environ | {"KUBECTL": str(tmp_path / "kubectl"), "STORE_KIND": "seaweedfs", "SERVE": ""}
    subprocess.run([K8S / "deploy.sh", overlay, "--print"], env=environment, check=True, capture_output=True)
    text = (tmp_path / "kept").read_text()
    assert "minio" not in text
    kept, original = (
        yaml.safe_load(one) for one in (text, (K8S / "overlays" / overlay / "kustomization.yaml").read_text())
    )
    names = [component.rsplit("/", 1)[1] for component in kept["components"]]
    assert names == ["postgres", "mlflow", "seaweedfs"], "the store changes the Deployment of MLflow"
    assert all("/k8s/components/" in component for component in kept["components"])
    assert kept["patches"][0]["patch"] == original["patches"][0]["patch"]


@pytest.mark.parametrize(
    ("overlay", "settings", "message"),
    [
        ("local", {"STORE_KIND": "ceph"}, "STORE_KIND is 'ceph'; expected minio or seaweedfs"),
        ("production", {"STORE_KIND": "seaweedfs"}, "the overlay production uses a store outside"),
        ("local", {"STORE_KIND": "seaweedfs", "SERVE": "a", "KEEP": "s3://b/c"}, "KEEP is 's3://b/c', which"),
    ],
)
def test_a_store_that_an_overlay_cannot_have_is_refused(
    overlay: str, settings: dict[str, str], message: str
) -> None:
    environment = os.environ | {"KUBECTL": "false", "SERVE": "", "KEEP": ""} | settings
    done = subprocess.run(
        [K8S / "deploy.sh", overlay, "--print"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("overlay", ["local", "gpu", "production"])
def test_with_teams_mlflow_starts_with_a_login_and_refuses_addresses_of_the_store(
    overlay: str, tmp_path: Path
) -> None:
    """The fake kubectl prints the kustomization; MLflow's own command takes the options of the component."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncat "$2/kustomization.yaml"\n')
    kubectl.chmod(0o755)
    environment = os.environ | {"KUBECTL": str(kubectl), "SERVE": "", "STORE_KIND": "", "TENANTS": "true"}
    command = [K8S / "deploy.sh", overlay, "--print"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    components = [one.rsplit("/", 1)[1] for one in yaml.safe_load(text)["components"]]
    assert components[components.index("mlflow") + 1] == "tenants"
    patches = yaml.safe_load((K8S / "components/tenants/kustomization.yaml").read_text())["patches"]
    (container,) = yaml.safe_load(patches[0]["patch"])["spec"]["template"]["spec"]["containers"]
    (expression,) = (one["value"] for one in container["env"] if one["name"].endswith("VALIDATION_REGEX"))
    assert re.search(expression, "models:/m-1")
    assert not re.search(expression, "s3://mlflow/workspaces/team-b")
    (mlflow,) = (one for one in objects("Deployment") if one["metadata"]["name"] == "mlflow")
    assert mlflow["spec"]["template"]["spec"]["containers"][0]["command"][2].endswith(' "$@"\n')


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"SERVE": "a"}, "SERVE is 'a', but with TENANTS a model belongs to a team"),
        ({"STORE_KIND": "seaweedfs"}, "STORE_KIND is 'seaweedfs', which has one key for all buckets"),
    ],
)
def test_what_would_mix_teams_is_refused(settings: dict[str, str], message: str) -> None:
    environment = os.environ | {"KUBECTL": "false", "SERVE": "", "KEEP": "", "TENANTS": "true"} | settings
    command = [K8S / "deploy.sh", "local", "--print"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr


# A fake kubectl that records its calls. The file `running` has the image of the cluster's Job, whose pod
# template is immutable: a dry run with another image fails.
KUBECTL = """\
#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
  kustomize*) printf 'image: tinyunet/mlflow:0.1.0\\nimage: docker.io/library/postgres:17\\n' ;;
  "apply --dry-run=server -f -") grep -qx "image: $(cat running)" || exit 1 ;;
  "apply -f -") echo apply >>calls; cat >applied ;;
  *"delete jobs"*) echo "$*" >>calls ;;
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
    (tmp_path / "running").write_text("tinyunet/mlflow:0.1.0")
    defaults = {
        "KUBECTL": str(kubectl),
        "REGISTRY": "",
        "TAG": "",
        "SERVE": "",
        "STORE_KIND": "",
        "TENANTS": "",
    }
    subprocess.run([K8S / "deploy.sh", "local"], env=os.environ | defaults | settings, check=True)
    assert (tmp_path / "applied").read_text() == f"image: {image}\nimage: docker.io/library/postgres:17\n"
    deletion = ["-n tinyunet delete jobs -l app.kubernetes.io/part-of=tinyunet"]
    assert (tmp_path / "calls").read_text().splitlines() == [*(deletion if deleted else []), "apply"]


def test_the_pods_of_mlflow_and_of_the_servers_mount_the_certificates_of_a_private_ca() -> None:
    runtime = yaml.safe_load((K8S / "components/kserve/servingruntime.yaml").read_text())["spec"]
    pods = [one["spec"]["template"]["spec"] for one in objects("Deployment")]
    assert len(pods) == 2
    for pod in (*pods, runtime):
        volume = {"name": "tinyunet-ca", "configMap": {"name": CA_CONFIG_MAP, "optional": True}}
        assert volume in pod["volumes"]
        mount = {"name": "tinyunet-ca", "mountPath": str(CA_MOUNT.parent), "readOnly": True}
        assert mount in pod["containers"][0]["volumeMounts"]


@pytest.mark.parametrize("present", [False, True])
def test_mlflow_trusts_mounted_certificates_beside_the_public_ones(present: bool, tmp_path: Path) -> None:
    (mlflow,) = (one for one in objects("Deployment") if one["metadata"]["name"] == "mlflow")
    (container,) = mlflow["spec"]["template"]["spec"]["containers"]
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    public.write_text("public\n")
    if present:
        private.write_text("private\n")
    shell, option, script = container["command"]
    for path, replacement in (
        ("/etc/ssl/certs/ca-certificates.crt", public),
        (CA_MOUNT, private),
        ("/tmp/ca.pem", tmp_path / "ca.pem"),
    ):
        assert str(path) in script
        script = script.replace(str(path), str(replacement))
    program = tmp_path / "mlflow"
    program.write_text('#!/bin/sh\necho "$@"\n[ -z "$AWS_CA_BUNDLE" ] || cat "$AWS_CA_BUNDLE"\n')
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([shell, option, script], env=env, capture_output=True, text=True, check=True)
    arguments, *trusted = done.stdout.splitlines()
    assert "--serve-artifacts" in arguments.split()
    assert trusted == (["public", "private"] if present else [])
