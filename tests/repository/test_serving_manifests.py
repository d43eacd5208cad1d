"""The manifests of the server: what `make deploy SERVE=…` writes, and those for KServe."""

import copy
import hashlib
import json
import os
import re
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyunet.cli.main import parse
from tinyunet.mpijob.rollout import MODEL, NAMESPACE
from tinyunet.server.following import registered_name

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"

# A fake kubectl. It keeps what is created and applied, and the kustomization of deploy.sh; no secret exists.
KUBECTL = """\
#!/bin/sh
here=$(dirname "$0")
case "$*" in
  *overlays/*) echo 'image: tinyunet/mlflow:0.1.0' ;;
  kustomize*) cp "$2/kustomization.yaml" "$here/kustomization"; echo 'image: tinyunet/serving:0.1.0' ;;
  *"get secret"*) exit 1 ;;
  *"create -f -") cat >>"$here/secrets"; echo --- >>"$here/secrets" ;;
  "apply -f -") cat >"$here/applied" ;;
esac
"""


def component(file: str) -> dict[str, Any]:
    """Return the object of a file of the component `serving`."""
    (found,) = yaml.safe_load_all((K8S / "components/serving" / file).read_text())
    return found


def container() -> dict[str, Any]:
    """Return the container of the servers."""
    (found,) = component("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    return found


def deploy(
    folder: Path, serve: str, *, keep: str = "", overlay: str = "local"
) -> "subprocess.CompletedProcess[str]":
    """Run k8s/deploy.sh for a registered model, with the fake kubectl in the folder."""
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    values = {"KUBECTL": str(folder / "kubectl"), "SERVE": serve, "KEEP": keep, "REGISTRY": "", "TAG": "9"}
    command = [K8S / "deploy.sh", overlay]
    return subprocess.run(command, env=os.environ | values, capture_output=True, text=True, check=False)


def patched(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply `replace` operations of a JSON patch to a copy; the paths must exist."""
    result = copy.deepcopy(document)
    for operation in operations:
        assert operation["op"] == "replace"
        *path, last = (part.replace("~1", "/") for part in operation["path"].strip("/").split("/"))
        target: Any = result
        for part in path:
            target = target[int(part) if isinstance(target, list) else part]
        key = int(last) if isinstance(target, list) else last
        assert target[key] is not None
        target[key] = operation["value"]
    return result


def arguments(command: list[str]) -> Namespace:
    """Parse the command line of a container with the program's own parser."""
    assert command[0] == "tinyunet"
    return parse(command[1:])


def test_a_served_model_gets_its_own_deployment_whose_pods_serve_its_champion(tmp_path: Path) -> None:
    done = deploy(tmp_path, "tinyunet-part-8")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "kustomization").read_text()
    kustomization = yaml.safe_load(text)
    assert (kustomization["namespace"], kustomization["nameSuffix"]) == (NAMESPACE, "-tinyunet-part-8")
    (patch,) = kustomization["patches"]
    deployment = patched(component("deployment.yaml"), yaml.safe_load(patch["patch"]))
    assert deployment["metadata"]["annotations"] == {MODEL: "tinyunet-part-8"}
    (pod,) = deployment["spec"]["template"]["spec"]["containers"]
    model = arguments(pod["command"]).model
    assert model == "models:/tinyunet-part-8@champion"
    assert registered_name(model) == "tinyunet-part-8"
    assert "part-7" not in json.dumps(deployment)
    assert "image: tinyunet/serving:9" in (tmp_path / "applied").read_text().splitlines()
    assert "service/serving-tinyunet-part-8 8080" in done.stdout


def test_two_models_have_disjoint_pods(tmp_path: Path) -> None:
    """Every selector of the component gets the label of the model, but not those of other peers."""
    deploy(tmp_path, "a")
    kustomization = yaml.safe_load((tmp_path / "kustomization").read_text())
    (label,) = (one for one in kustomization["labels"] if "fields" in one)
    assert label["pairs"] == {"tinyunet/served": "a"}
    paths = {(field["kind"], field["path"]) for field in label["fields"]}
    assert paths >= {
        ("Deployment", "spec/selector/matchLabels"),
        ("Deployment", "spec/template/metadata/labels"),
        ("Service", "spec/selector"),
        ("PodDisruptionBudget", "spec/selector/matchLabels"),
    }
    assert not [path for kind, path in paths if kind == "NetworkPolicy"]


def test_a_token_is_made_once_and_no_argument_or_output_shows_it(tmp_path: Path) -> None:
    done = deploy(tmp_path, "a")
    secrets = [one for one in yaml.safe_load_all((tmp_path / "secrets").read_text()) if one]
    (token,) = (
        one["stringData"]["token"] for one in secrets if one["metadata"]["name"] == "tinyunet-serving"
    )
    assert len(token) >= 32
    assert token not in done.stdout + done.stderr
    (volume,) = (
        one for one in component("deployment.yaml")["spec"]["template"]["spec"]["volumes"] if "secret" in one
    )
    assert volume["secret"] == {
        "secretName": "tinyunet-serving",
        "items": [{"key": "token", "path": "token"}],
    }
    (mount,) = (one for one in container()["volumeMounts"] if one["name"] == volume["name"])
    assert arguments(container()["command"]).token_file == Path(mount["mountPath"], "token")


def test_servers_that_keep_images_get_a_key_of_their_own_and_the_way_to_the_store(tmp_path: Path) -> None:
    """The objects and the rights of the key are tested on a real cluster."""
    place = "s3://review/part-8?most-uncertain=5"
    assert deploy(tmp_path, "part-8", keep=place).returncode == 0
    kustomization = yaml.safe_load((tmp_path / "kustomization").read_text())
    operations, job = (yaml.safe_load(one["patch"]) for one in kustomization["patches"])
    added = {one["path"]: one["value"] for one in operations if one["op"] == "add"}
    command = [*container()["command"], added["/spec/template/spec/containers/0/command/-"]]
    assert arguments(command).keep == place
    assert added["/spec/template/spec/containers/0/envFrom"][-1] == {"secretRef": {"name": "tinyunet-review"}}
    assert job == [{"op": "replace", "path": "/spec/template/spec/containers/0/command/2", "value": "review"}]
    secrets = [one for one in yaml.safe_load_all((tmp_path / "secrets").read_text()) if one]
    assert "tinyunet-review" in {one["metadata"]["name"] for one in secrets}


def test_outside_stores_need_a_secret_of_the_administrator(tmp_path: Path) -> None:
    done = deploy(tmp_path, "part-8", keep="s3://review/part-8", overlay="production")
    assert done.returncode == 2
    assert "create secret generic" in done.stderr


@pytest.mark.parametrize(
    ("serve", "keep"),
    [("a", "review"), ("a", "s3://b/c'd"), ("a", "s3://b?most-uncertain=0"), ("", "s3://b/c")],
)
def test_a_wrong_place_for_images_is_refused(serve: str, keep: str, tmp_path: Path) -> None:
    done = deploy(tmp_path, serve, keep=keep)
    assert done.returncode == 2
    assert done.stderr.startswith("deploy: KEEP is ")
    assert not (tmp_path / "applied").exists()


def test_without_serve_no_server_is_deployed(tmp_path: Path) -> None:
    assert deploy(tmp_path, "").returncode == 0
    assert not (tmp_path / "kustomization").exists()
    assert "serving" not in (tmp_path / "secrets").read_text() + (tmp_path / "applied").read_text()


@pytest.mark.parametrize("name", ["Tiny.UNet_1", "a" * 60, "x-"])
def test_a_name_that_kubernetes_refuses_is_shortened_and_gets_a_digest(name: str, tmp_path: Path) -> None:
    assert deploy(tmp_path, name).returncode == 0
    kustomization = yaml.safe_load((tmp_path / "kustomization").read_text())
    suffix = kustomization["nameSuffix"].removeprefix("-")
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,52}[a-z0-9])?", suffix)
    assert suffix.endswith(hashlib.sha256(f"{name}\n".encode()).hexdigest()[:6])
    assert f"models:/{name}@champion" in kustomization["patches"][0]["patch"]


@pytest.mark.parametrize("name", ['a" }', "a@b", "a\nb", "models:/a"])
def test_a_value_that_would_change_a_manifest_is_refused(name: str, tmp_path: Path) -> None:
    done = deploy(tmp_path, name)
    assert done.returncode == 2
    assert done.stderr.startswith("deploy: SERVE is ")
    assert not (tmp_path / "applied").exists()


def test_at_least_two_pods_serve_and_an_update_takes_none_of_them() -> None:
    scaler, spec = component("horizontalpodautoscaler.yaml")["spec"], component("deployment.yaml")["spec"]
    assert scaler["minReplicas"] == 2
    assert "replicas" not in spec  # a second deployment would reset what the autoscaler has set
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert component("poddisruptionbudget.yaml")["spec"]["maxUnavailable"] < scaler["minReplicas"]
    selectors = [
        component("service.yaml")["spec"]["selector"],
        component("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"],
        spec["selector"]["matchLabels"],
    ]
    assert all(one.items() <= spec["template"]["metadata"]["labels"].items() for one in selectors)


def test_a_stopping_pod_answers_until_no_service_sends_requests_to_it() -> None:
    pod, drain = (
        component("deployment.yaml")["spec"]["template"]["spec"],
        arguments(container()["command"]).drain,
    )
    probe = container()["readinessProbe"]
    assert drain >= 3 * probe["periodSeconds"]  # three failures, the default, make a pod unready
    assert pod["terminationGracePeriodSeconds"] >= drain + 30


def test_the_ports_of_the_program_the_container_and_the_service_are_the_same() -> None:
    options = arguments(container()["command"])
    assert [port["containerPort"] for port in container()["ports"]] == [options.port, options.grpc_port]
    assert [port["port"] for port in component("service.yaml")["spec"]["ports"]] == [
        options.port,
        options.grpc_port,
    ]
    assert options.host == "0.0.0.0"


def test_the_server_writes_only_into_volumes_and_its_cache_survives_a_restart_of_the_container() -> None:
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"] if not mount.get("readOnly")}
    env = {one["name"]: one.get("value") for one in container()["env"]}
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert {env["TINYUNET_CACHE"], env["HOME"]} <= mounts
    assert component("serviceaccount.yaml")["automountServiceAccountToken"] is False


def test_every_verb_of_the_deploy_step_has_a_reason() -> None:
    text = (K8S / "base/deployer.yaml").read_text()
    (rule,) = yaml.safe_load(text)["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["apps"], ["deployments"])
    assert all(f"({verb})" in text for verb in rule["verbs"])
    assert set(rule["verbs"]) == {"list", "patch", "get"}


def kserve(file: str) -> dict[str, Any]:
    """Return the object of a file of k8s/components/kserve."""
    (found,) = yaml.safe_load_all((K8S / "components/kserve" / file).read_text())
    return found


def test_kserve_starts_the_program_with_arguments_that_it_accepts() -> None:
    """KServe appends the arguments of the InferenceService to those of the runtime."""
    runtime, service = kserve("servingruntime.yaml"), kserve("inferenceservice.yaml")
    (pod,) = runtime["spec"]["containers"]
    model = service["spec"]["predictor"]["model"]
    options = arguments([*pod["command"], *pod["args"], *model["args"]])
    assert options.model == "models:/tinyunet-part-7@champion"
    assert options.port == pod["ports"][0]["containerPort"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in {one["name"] for one in runtime["spec"]["supportedModelFormats"]}
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert pod["image"] == container()["image"]
    assert pod["name"] == "kserve-container"  # KServe merges the InferenceService into this container
