"""The example job in k8s/mpijob.yaml; `tinyunet mpijob` prints this file."""

import json
import re
from dataclasses import replace

from tinyunet.core.errors import require
from tinyunet.mpijob.spec import Json, MPIJobSpec, WorkerPods, build

_HEADER = """\
# This job trains TinyUNet on synthetic images with two ranks. It needs the MPI Operator and the image below.
#   kubectl apply -f k8s/mpijob.yaml
# To train on your own data, replace synthetic://… by the location of a records folder, s3://bucket/prefix.
# To use your own MLflow server, replace sqlite:… in the Launcher's env by http://server:5000. The SQLite file
# is deleted with its pod.
# `make mpijob REGISTRY=… TAG=…` generates this file. Change anything else in tinyunet/mpijob/example.py.
"""
# Every rank generates the same synthetic data; the job therefore needs no storage.
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
    """Return the example job for an image of this registry and tag.

    No two parts of the result are the same object, since YAML would write them as anchors.

    Raises:
        UserError: if the registry or the tag cannot be part of the name of an image.
    """
    require(re.fullmatch(r"[\w.:/-]*", registry) is not None, "registry", registry, "HOST[:PORT][/PATH]")
    require(re.fullmatch(r"[\w.-]*", tag) is not None, "tag", tag, "letters, digits and _ . -")
    name, version = EXAMPLE.image.split(":")
    image = f"{registry.rstrip('/')}/{name}:{tag or version}".lstrip("/")
    return dict(json.loads(json.dumps(build(replace(EXAMPLE, image=image)))))


def manifest(registry: str = "", tag: str = "") -> str:
    """Return the text of k8s/mpijob.yaml for an image of this registry and tag."""
    import yaml

    class Readable(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Readable.add_representer(str, text)
    return _HEADER + yaml.dump(example(registry, tag), Dumper=Readable, sort_keys=False, width=110)
