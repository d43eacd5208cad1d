"""The job of k8s/mpijob.yaml, which `tinyunet mpijob` prints."""

import json
from dataclasses import replace

from tinyunet.mpijob.spec import Json, MPIJobSpec, WorkerPods, build

_HEADER = """\
# Distributed TinyUNet training in mixed precision on synthetic images: needs the MPI Operator and this image.
#   kubectl apply -f k8s/mpijob.yaml
# Your own data: put a records folder, s3://bucket/prefix, in the place of synthetic://…
# Your own MLflow: put http://server:5000 in the place of sqlite:… (the Launcher's), a file lost with its pod.
# Made by `make mpijob`, which takes REGISTRY and TAG; the rest is changed in tinyunet.mpijob.example.
"""
# Every rank makes the same synthetic data, so nothing but the image is needed.
EXAMPLE = MPIJobSpec(
    name="tinyunet",
    image="tinyunet/trainer-cpu:0.1.0",
    command=(
        *("python3", "-m", "tinyunet", "train", "synthetic://?train=64&test=16&size=64&seed=0"),
        *("--out", "/tmp/model", "--set", "image_size=64", "--set", "steps=20"),  # noqa: S108
        *("--set", "precision=mixed_bfloat16"),
    ),
    pods=WorkerPods(env=[{"name": "MLFLOW_TRACKING_URI", "value": "sqlite:////tmp/runs/mlflow.db"}]),
    deadline_seconds=3600,
)


def example(registry: str = "", tag: str = "") -> Json:
    """Give the job of k8s/mpijob.yaml, without shared parts (YAML would write them as anchors)."""
    name, version = EXAMPLE.image.split(":")
    image = f"{registry.rstrip('/')}/{name}:{tag or version}".lstrip("/")
    return dict(json.loads(json.dumps(build(replace(EXAMPLE, image=image)))))


def manifest(registry: str = "", tag: str = "") -> str:
    """Return the text of k8s/mpijob.yaml, for an image of this registry and tag."""
    import yaml

    class Readable(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Readable.add_representer(str, text)
    return _HEADER + yaml.dump(example(registry, tag), Dumper=Readable, sort_keys=False, width=110)
