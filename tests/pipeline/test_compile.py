"""The compiled pipeline: edges, images, resources and parameters; every compilation gives the same bytes."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.base import GPU_IMAGE, IMAGE
from pipeline.compile import compile_variant, parse
from pipeline.pipeline import build as build_pipeline
from tinyunet.core.network import CA_CONFIG_MAP, CA_MOUNT, CA_VARIABLES
from tinyunet.mpijob.resources import COMPILE_CACHE

ROOT = Path(__file__).parents[2]
YAML = yaml.CSafeLoader  # as safe_load, in C
TASKS = ["convert", "evaluate", "ingest", "register", "train"]


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def compiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    path = compile_variant(request.param, tmp_path_factory.mktemp("compiled"))
    return [*yaml.load_all(path.read_text(), YAML), {"variant": request.param}]


def executors(compiled: list[dict[str, Any]]) -> dict[str, Any]:
    found = compiled[0]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in found.items()}


def platform(compiled: list[dict[str, Any]]) -> dict[str, Any]:
    found = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor for name, executor in found.items()}


def test_the_edges_connect_each_artifact_with_its_readers(compiled: list[dict[str, Any]]) -> None:
    edges = {
        (
            inputs["taskOutputArtifact"]["producerTask"],
            inputs["taskOutputArtifact"]["outputArtifactKey"],
            name,
        )
        for name, task in compiled[0]["root"]["dag"]["tasks"].items()
        for inputs in task.get("inputs", {}).get("artifacts", {}).values()
    }
    assert edges == {
        ("ingest", "raw", "convert"),
        ("convert", "records", "train"),
        ("convert", "records", "evaluate"),
        ("convert", "records", "register"),
        ("train", "model", "evaluate"),
        ("train", "model", "register"),
        ("evaluate", "evaluation", "register"),
    }


def test_every_task_has_a_numbered_display_name(compiled: list[dict[str, Any]]) -> None:
    tasks = compiled[0]["root"]["dag"]["tasks"].values()
    names = sorted(task["taskInfo"]["name"] for task in tasks)
    assert names == ["1 Ingest", "2 Convert", "3 Train", "4 Evaluate", "5 Register"]


def test_outputs_have_the_types_that_the_dashboard_displays(compiled: list[dict[str, Any]]) -> None:
    outputs = {
        name.removeprefix("comp-"): {
            key: artifact["artifactType"]["schemaTitle"].removeprefix("system.")
            for key, artifact in component["outputDefinitions"]["artifacts"].items()
        }
        for name, component in compiled[0]["components"].items()
    }
    assert outputs == {
        "ingest": {"raw": "Dataset", "report": "HTML"},
        "convert": {"records": "Dataset", "sizes": "Metrics"},
        "train": {"model": "Model", "metrics": "Metrics"},
        "evaluate": {
            "evaluation": "Artifact",
            "metrics": "Metrics",
            "roc": "ClassificationMetrics",
            "report": "HTML",
            "card": "Markdown",
        },
        "register": {"decision": "Metrics", "table": "HTML"},
    }


def test_nothing_is_installed_at_run_time(compiled: list[dict[str, Any]]) -> None:
    assert sorted(executors(compiled)) == TASKS
    for container in executors(compiled).values():
        assert "pip install" not in " ".join(container["command"])


def test_every_task_has_the_cpu_image_except_training_on_gpus(compiled: list[dict[str, Any]]) -> None:
    images = {name: container["image"] for name, container in executors(compiled).items()}
    trainer = GPU_IMAGE if compiled[2]["variant"] == "gpu" else IMAGE
    assert images == dict.fromkeys(TASKS, IMAGE) | {"train": trainer}


def test_only_ingest_and_train_are_never_cached(compiled: list[dict[str, Any]]) -> None:
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert [name for name, task in tasks.items() if not task["cachingOptions"].get("enableCache")] == [
        "ingest",
        "train",
    ]


def test_the_run_id_is_a_complete_argument(compiled: list[dict[str, Any]]) -> None:
    """KFP does not resolve the placeholder inside a longer string."""
    run_id = compiled[0]["root"]["dag"]["tasks"]["train"]["inputs"]["parameters"]["run_id"]
    assert run_id == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}


def test_only_training_requests_gpus_and_tolerates_their_nodes(compiled: list[dict[str, Any]]) -> None:
    with_gpu = {
        n: c["resources"]["accelerator"]
        for n, c in executors(compiled).items()
        if "accelerator" in c["resources"]
    }
    tolerant = {n: e["tolerations"] for n, e in platform(compiled).items() if "tolerations" in e}
    if compiled[2]["variant"] == "cpu":
        assert with_gpu == tolerant == {}
    else:
        assert {n: (a["resourceType"], a["resourceCount"]) for n, a in with_gpu.items()} == {
            "train": ("nvidia.com/gpu", "1")
        }
        assert tolerant == {
            "train": [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
        }


def test_the_resources_of_training_are_passed_to_the_workers(compiled: list[dict[str, Any]]) -> None:
    passthroughs = compiled[0]["components"]["comp-train"]["taskConfigPassthroughs"]
    assert {(p["field"], p.get("applyToTask", False)) for p in passthroughs} == {
        ("RESOURCES", False),
        ("KUBERNETES_TOLERATIONS", False),
        ("KUBERNETES_NODE_SELECTOR", False),
        ("KUBERNETES_AFFINITY", False),
        ("KUBERNETES_VOLUMES", True),
        ("ENV", True),
    }


def test_credentials_are_optional_references(compiled: list[dict[str, Any]]) -> None:
    """A cluster without the Secret and the ConfigMap starts the pods, too."""
    assert sorted(platform(compiled)) == TASKS
    for executor in platform(compiled).values():
        (secret, login), (settings,) = executor["secretAsEnv"], executor["configMapAsEnv"]
        assert (secret["secretName"], login["secretName"]) == ("tinyunet-s3", "tinyunet-mlflow")
        assert {one["secretKey"]: one["envVar"] for one in login["keyToEnv"]} == {
            name: name
            for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_WORKSPACE")
        }
        assert settings["configMapName"] == "tinyunet"
        assert [key["configMapKey"] for key in settings["keyToEnv"]] == [
            "MLFLOW_TRACKING_URI",
            "S3_ENDPOINT_URL",
            "AWS_DEFAULT_REGION",
        ]
        assert secret["optional"] is login["optional"] is settings["optional"] is True


def test_every_task_mounts_the_certificates_of_a_private_ca_if_there_are_any(
    compiled: list[dict[str, Any]],
) -> None:
    volume = {"configMapName": CA_CONFIG_MAP, "mountPath": str(CA_MOUNT.parent), "optional": True}
    for name, container in executors(compiled).items():
        (found,) = platform(compiled)[name]["configMapAsVolume"]
        assert volume.items() <= found.items()
        (folders,) = (one["value"] for one in container["env"] if one["name"] == "SSL_CERT_DIR")
        assert str(CA_MOUNT.parent) in folders.split(":")
        assert not {one["name"] for one in container["env"]} & set(CA_VARIABLES)


def test_every_task_has_a_writable_home_folder(compiled: list[dict[str, Any]]) -> None:
    for container in executors(compiled).values():
        assert {"name": "HOME", "value": "/tmp"} in container["env"]


def test_only_the_pod_of_the_train_task_is_kept_by_autoscalers(compiled: list[dict[str, Any]]) -> None:
    annotations = {
        name: executor.get("podMetadata", {}).get("annotations", {})
        for name, executor in platform(compiled).items()
    }
    kept = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
    assert annotations == {name: {} for name in TASKS} | {"train": kept}


def test_no_task_is_repeated_after_a_failure(compiled: list[dict[str, Any]]) -> None:
    """Where Kubeflow retries failed steps at all, wrong input would otherwise fail three times."""
    assert all("retryPolicy" not in task for task in compiled[0]["root"]["dag"]["tasks"].values())


def test_every_task_has_a_deadline(compiled: list[dict[str, Any]]) -> None:
    seconds = {name: int(executor["activeDeadlineSeconds"]) for name, executor in platform(compiled).items()}
    assert seconds == dict.fromkeys(TASKS, 7200) | {"train": 86400}


def requested(container: dict[str, Any]) -> tuple[str, str, str]:
    names = ("resourceCpuRequest", "resourceMemoryRequest", "resourceMemoryLimit")
    cpu, memory, limit = (container["resources"][name] for name in names)
    return cpu, memory, limit


def test_only_the_workers_of_the_gpu_variant_request_more(compiled: list[dict[str, Any]]) -> None:
    small = ("250m", "1G", "6G")
    workers = ("2", "4G", "16G") if compiled[2]["variant"] == "gpu" else small
    found = {name: requested(container) for name, container in executors(compiled).items()}
    assert found == dict.fromkeys(TASKS, small) | {"train": workers}


def test_the_option_of_the_memory_limit_is_for_every_task_and_worker(tmp_path: Path) -> None:
    changes = vars(parse(["--memory-limit", "32G"]))
    compiled = list(yaml.safe_load_all(compile_variant("gpu", tmp_path, changes=changes).read_text()))
    assert {requested(container)[2] for container in executors(compiled).values()} == {"32G"}


def test_the_compiled_parameters_are_those_of_the_pipeline_function(compiled: list[dict[str, Any]]) -> None:
    declared = compiled[0]["root"]["inputDefinitions"]["parameters"]
    signature = inspect.signature(build_pipeline().pipeline_func).parameters
    assert {name: p["defaultValue"] for name, p in declared.items()} == {
        name: parameter.default for name, parameter in signature.items()
    }


def test_every_parameter_has_a_description(
    compiled: list[dict[str, Any]], classes: list[dict[str, Any]]
) -> None:
    one, several = (spec[0]["root"]["inputDefinitions"]["parameters"] for spec in (compiled, classes))
    assert all(p.get("description") for p in (one | several).values())
    assert one["category"]["description"].startswith("Category of the data set, such as `bottle`")
    assert one["model_name"]["description"].startswith("Name of the registered model; if")
    assert one["image_score"]["description"].endswith("and `max` for DAGM2007.")


def test_every_parameter_is_passed_to_every_step_that_has_it(compiled: list[dict[str, Any]]) -> None:
    declared, passed = set(compiled[0]["root"]["inputDefinitions"]["parameters"]), set()
    for name, task in compiled[0]["root"]["dag"]["tasks"].items():
        inputs = task["inputs"].get("parameters", {})
        given = {key: source.get("componentInputParameter") for key, source in inputs.items()}
        accepted = compiled[0]["components"][f"comp-{name}"]["inputDefinitions"].get("parameters", {})
        assert {key: given.get(key) for key in accepted if key in declared} == {
            key: key for key in accepted if key in declared
        }
        passed |= set(given.values())
    assert declared <= passed
    register = compiled[0]["root"]["dag"]["tasks"]["register"]["inputs"]["parameters"]
    assert register == {
        "name": {"componentInputParameter": "model_name"},
        "deploy": {"componentInputParameter": "deploy"},
    }


def test_options_set_another_secret_and_other_nodes(tmp_path: Path) -> None:
    options = parse(
        ["--secret", "own-secret", "--secret-keys", "id", "key", "--node-selector", "gpu=a100,zone=b"]
    )
    compiled = list(yaml.load_all(compile_variant("gpu", tmp_path, changes=vars(options)).read_text(), YAML))
    secret, _ = platform(compiled)["train"]["secretAsEnv"]
    assert secret["secretName"] == "own-secret"
    assert {k["secretKey"]: k["envVar"] for k in secret["keyToEnv"]} == {
        "id": "AWS_ACCESS_KEY_ID",
        "key": "AWS_SECRET_ACCESS_KEY",
    }
    assert platform(compiled)["train"]["nodeSelector"] == {"labels": {"gpu": "a100", "zone": "b"}}
    assert "nodeSelector" not in platform(compiled)["ingest"]


@pytest.mark.parametrize(
    ("words", "resource", "count", "sizes", "keys"),
    [
        (["--gpus", "8"], "nvidia.com/gpu", "8", ("16", "32G", "128G"), ["nvidia.com/gpu"]),
        (
            ["--gpus", "8", "--memory-limit", "64G"], "nvidia.com/gpu", "8", ("16", "32G", "64G"),
            ["nvidia.com/gpu"],
        ),
        (
            ["--gpu-type", "nvidia.com/mig-1g.10gb"], "nvidia.com/mig-1g.10gb", "1", ("2", "4G", "16G"),
            ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb"],
        ),
    ],
)  # fmt: skip
def test_options_set_the_gpus_of_the_workers_and_only_in_the_variant_that_has_some(
    tmp_path: Path, words: list[str], resource: str, count: str, sizes: tuple[str, ...], keys: list[str]
) -> None:
    changes = vars(parse(words))
    compiled = list(yaml.load_all(compile_variant("gpu", tmp_path, changes=changes).read_text(), YAML))
    train = executors(compiled)["train"]["resources"]
    accelerator = train["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == (resource, count)
    names = ("resourceCpuRequest", "resourceMemoryRequest", "resourceMemoryLimit")
    assert tuple(train[name] for name in names) == sizes
    assert [one["key"] for one in platform(compiled)["train"]["tolerations"]] == keys
    assert "accelerator" not in compile_variant("cpu", tmp_path, changes=changes).read_text()


def test_several_parts_of_gpus_for_one_worker_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["--gpus", "2", "--gpu-type", "nvidia.com/gpu.shared"])
    assert (
        "argument --gpus: 2; expected 1, since a worker uses one nvidia.com/gpu.shared"
        in capsys.readouterr().err
    )


def test_only_workers_with_gpus_get_the_volume_of_compiled_steps(tmp_path: Path) -> None:
    options = vars(parse(["--compile-cache", "steps"]))
    compiled = list(yaml.load_all(compile_variant("gpu", tmp_path, changes=options).read_text(), YAML))
    (mount,) = platform(compiled)["train"]["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("steps", COMPILE_CACHE[1])
    name, folder = COMPILE_CACHE
    assert {"name": name, "value": folder} in executors(compiled)["train"]["env"]
    assert "pvcMount" not in platform(compiled)["evaluate"]
    assert name not in compile_variant("cpu", tmp_path, changes=options).read_text()


def test_only_the_train_task_gets_the_queue_and_its_priority(tmp_path: Path) -> None:
    options = vars(parse(["--queue", "gpus", "--priority", "urgent"]))
    compiled = list(yaml.load_all(compile_variant("gpu", tmp_path, changes=options).read_text(), YAML))
    queue = {"name": "TINYUNET_QUEUE", "value": "gpus"}
    assert [name for name, container in executors(compiled).items() if queue in container["env"]] == ["train"]
    assert {"name": "TINYUNET_PRIORITY", "value": "urgent"} in executors(compiled)["train"]["env"]
    assert "activeDeadlineSeconds" not in platform(compiled)["train"], "the wait in a queue has no limit"


COMPILE = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "mlflow", "horovod", "tinyunet", "numpy"):
            raise ImportError(f"{name} is not allowed while compiling")
sys.meta_path.insert(0, Absent())
from pathlib import Path
from pipeline.compile import compile_variant
print(compile_variant("gpu", Path(sys.argv[1])).read_text(), end="")
"""


def compile_in_a_process(folder: Path, seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", COMPILE, str(folder)]
    return subprocess.run(
        command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def test_compiling_imports_no_machine_learning_and_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (compile_in_a_process(tmp_path / seed, seed) for seed in ("1", "2"))
    assert first == second == compile_variant("gpu", tmp_path).read_text()


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = compile_variant("gpu", tmp_path_factory.mktemp("classes"), pipeline="tinyunet-classes")
    return list(yaml.load_all(path.read_text(), YAML))


def test_the_pipeline_for_several_classes_is_a_loop_over_the_tasks_of_one_class(
    classes: list[dict[str, Any]], tmp_path: Path
) -> None:
    (loop,) = (n for n in classes[0]["root"]["dag"]["tasks"] if n.startswith("for-loop"))
    tasks_in_loop = classes[0]["components"][f"comp-{loop}"]["dag"]["tasks"]
    single = next(yaml.load_all(compile_variant("gpu", tmp_path).read_text(), YAML))
    tasks_of_one_class = single["root"]["dag"]["tasks"]
    assert sorted(tasks_in_loop) == TASKS
    for name, task in tasks_in_loop.items():
        expected = tasks_of_one_class[name]["inputs"]
        assert task["inputs"].get("artifacts") == expected.get("artifacts")
        assert task["inputs"]["parameters"].keys() == expected["parameters"].keys()


def test_the_loop_passes_texts_to_its_steps_for_two_categories_at_a_time(
    classes: list[dict[str, Any]],
) -> None:
    """The driver of Kubeflow Pipelines rejects an item of another type than the declared one."""
    tasks = classes[0]["root"]["dag"]["tasks"]
    (loop,) = (n for n in tasks if n.startswith("for-loop"))
    inputs = classes[0]["components"][f"comp-{loop}"]["inputDefinitions"]["parameters"]
    item = tasks[loop]["parameterIterator"]["itemInput"]
    assert inputs[item] == {"parameterType": "STRING"}
    assert tasks[loop]["iteratorPolicy"] == {"parallelismLimit": 2}


def test_the_table_collects_every_evaluation_and_is_configured_like_other_tasks(
    classes: list[dict[str, Any]],
) -> None:
    compare = classes[0]["root"]["dag"]["tasks"]["compare"]
    (source,) = compare["inputs"]["artifacts"].values()
    assert source["taskOutputArtifact"]["producerTask"].startswith("for-loop")
    assert classes[0]["components"]["comp-compare"]["inputDefinitions"]["artifacts"]["evaluations"][
        "isArtifactList"
    ]
    assert compare["taskInfo"]["name"] == "6 Compare"
    assert platform(classes).keys() == {*TASKS, "compare"}
    assert platform(classes)["compare"].keys() == platform(classes)["ingest"].keys()


def test_an_option_sets_how_many_classes_train_at_a_time(tmp_path: Path) -> None:
    changes = vars(parse(["--classes-at-a-time", "5"]))
    path = compile_variant("cpu", tmp_path, pipeline="tinyunet-classes", changes=changes)
    assert "parallelismLimit: 5" in path.read_text()


def test_another_image_replaces_the_image_of_every_task(tmp_path: Path) -> None:
    path = compile_variant("gpu", tmp_path, image="registry.example.org/custom-python:7")
    assert "tinyunet/trainer" not in path.read_text()
    assert path.read_text().count("image: registry.example.org/custom-python:7") == len(TASKS)


def test_a_tag_replaces_the_version_in_both_image_names(tmp_path: Path) -> None:
    text = compile_variant("gpu", tmp_path, registry="registry.example.org", tag="7").read_text()
    assert text.count("image: registry.example.org/tinyunet/trainer-cpu:7\n") == len(TASKS) - 1
    assert text.count("image: registry.example.org/tinyunet/trainer:7\n") == 1


def test_a_registry_is_the_prefix_of_both_image_names(tmp_path: Path) -> None:
    text = compile_variant("gpu", tmp_path, registry="registry.example.org/").read_text()
    assert text.count(f"image: registry.example.org/{IMAGE}\n") == len(TASKS) - 1
    assert text.count(f"image: registry.example.org/{GPU_IMAGE}\n") == 1


@pytest.mark.parametrize("text", ["registry.example.org/", "localhost:5000", "ghcr.io/a-team/tiny_unet"])
def test_a_valid_registry_is_accepted(text: str) -> None:
    assert parse(["--registry", text]).registry == text


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--registry", "https://registry.example.org", "expected HOST[:PORT][/PATH], no https://"),
        ("--registry", "registry.example.org/My Team", "expected HOST[:PORT][/PATH]"),
        ("--tag", "feature/x", "expected letters, digits and _ . - in a tag"),
        ("--memory-limit", "16GB", "expected a whole number of K, M, G, Ki, Mi or Gi: 16G"),
        ("--memory-limit", "1.5G", "expected a whole number"),
        ("--memory-limit", "0", "expected a whole number"),
        ("--node-selector", "gpu", "expected KEY=VALUE"),
        ("--gpu-type", "mig-1g.10gb", "expected DOMAIN/gpu…, or DOMAIN/mig-… for a part"),
        ("--gpu-type", "nvidia.com/hostdev", "expected DOMAIN/gpu…"),
    ],
)
def test_the_error_of_a_wrong_option_names_the_value_and_the_expectation(
    capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse([option, value])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument {option}: {value!r}; {expected}" in line
