"""The example jobs in k8s/: `tinyunet mpijob` prints mpijob.yaml, with `--gpu` mpijob-gpu.yaml."""

import json
import re
from dataclasses import replace

from tinyunet.core.errors import require
from tinyunet.mpijob.resources import COMPILE_CACHE, GPU, TOLERATION
from tinyunet.mpijob.spec import Json, MPIJobSpec, WorkerPods, build

_HEADER = """\
# This job trains TinyUNet on synthetic images with two ranks. It needs the MPI Operator and the image below.
#   kubectl apply -f k8s/mpijob.yaml
# To train on your own data, replace synthetic://… by the location of a records folder, s3://bucket/prefix.
# To use your own MLflow server, replace sqlite:… in the Launcher's env by http://server:5000. The SQLite file
# is deleted with its pod.
# `make mpijob REGISTRY=… TAG=…` generates this file. Change anything else in tinyunet/mpijob/example.py.
"""
_GPU_HEADER = """\
# This job trains TinyUNet on synthetic images with two ranks, each with its own GPU, in mixed_float16. It
# needs the MPI Operator, NVIDIA's GPU operator, two GPUs and the image below, which is built on NVIDIA's
# TensorFlow image.
#   kubectl apply -f k8s/mpijob-gpu.yaml
# Records, MLflow and the generation of this file are as in k8s/mpijob.yaml.
# - One GPU per slot: for nodes of 8 GPUs, set slotsPerWorker and nvidia.com/gpu to 8, -np to 8 × replicas and
#   the sizeLimit of shm to 8Gi. Ranks of one pod use NVLink; the ranks of two pods use the network.
# - A part of a GPU: replace nvidia.com/gpu in limits by nvidia.com/mig-1g.10gb or nvidia.com/gpu.shared.
# - tolerations: GPU nodes usually have the taint nvidia.com/gpu, which keeps other pods away.
# - shm: NCCL and Open MPI exchange data through /dev/shm where GPUs do not reach each other directly. NVIDIA
#   recommends 1 GiB, and Kubernetes gives 64 MiB without this volume.
# - NCCL_SOCKET_IFNAME: the interface of the pod network. Without it, NCCL also takes interfaces of other
#   networks, which may not reach all pods. NCCL_DEBUG=WARN prints the reason of a failure of NCCL.
# - TF_GPU_THREAD_MODE=gpu_private: the threads that start kernels are not delayed by those of the input.
# - `tinyunet mpijob --gpu --compile-cache CLAIM` prints this job with a PersistentVolumeClaim, in which XLA
#   keeps compiled steps for the next job. Workers on several nodes need the access mode ReadWriteMany.
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
GPU_EXAMPLE = replace(
    EXAMPLE,
    name="tinyunet-gpu",
    image="tinyunet/trainer:0.1.0",
    command=(*EXAMPLE.command[:-1], "precision=mixed_float16"),
    pods=WorkerPods(
        env=EXAMPLE.pods.env,
        resources={
            "limits": {GPU: EXAMPLE.slots_per_worker, "memory": "16Gi"},
            "requests": {"cpu": "2", "memory": "4Gi"},
        },
        tolerations=[TOLERATION],
    ),
)


def example(registry: str = "", tag: str = "", *, gpu: bool = False, compile_cache: str = "") -> Json:
    """Return the example job, for CPUs or for GPUs, for an image of this registry and tag.

    With the name of a PersistentVolumeClaim as `compile_cache`, XLA keeps compiled steps in it. No two parts
    of the result are the same object, since YAML would write them as anchors.

    Raises:
        UserError: if the registry or the tag cannot be part of the name of an image, or if there is a claim
            for a job on CPUs, where XLA is off.
    """
    require(re.fullmatch(r"[\w.:/-]*", registry) is not None, "registry", registry, "HOST[:PORT][/PATH]")
    require(re.fullmatch(r"[\w.-]*", tag) is not None, "tag", tag, "letters, digits and _ . -")
    require(gpu or not compile_cache, "compile-cache", compile_cache, "nothing, or --gpu: XLA is off on CPUs")
    spec = GPU_EXAMPLE if gpu else EXAMPLE
    if compile_cache:
        spec = replace(spec, pods=_with_compile_cache(spec.pods, compile_cache))
    name, version = spec.image.split(":")
    image = f"{registry.rstrip('/')}/{name}:{tag or version}".lstrip("/")
    return dict(json.loads(json.dumps(build(replace(spec, image=image)))))


def _with_compile_cache(pods: WorkerPods, claim: str) -> WorkerPods:
    """Return the pods with a claim as the folder of XLA's compiled steps."""
    name, folder = COMPILE_CACHE
    return replace(
        pods,
        env=[*pods.env, {"name": name, "value": folder}],
        volumes=[{"name": "compile-cache", "persistentVolumeClaim": {"claimName": claim}}],
        volume_mounts=[{"name": "compile-cache", "mountPath": folder}],
    )


def manifest(registry: str = "", tag: str = "", *, gpu: bool = False, compile_cache: str = "") -> str:
    """Return the text of k8s/mpijob.yaml or k8s/mpijob-gpu.yaml; the arguments are those of `example`."""
    import yaml

    class Readable(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Readable.add_representer(str, text)
    job = example(registry, tag, gpu=gpu, compile_cache=compile_cache)
    return (_GPU_HEADER if gpu else _HEADER) + yaml.dump(job, Dumper=Readable, sort_keys=False, width=110)
