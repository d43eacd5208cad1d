"""Resources of the worker pods: CPU and memory, GPUs and what these need, and checks of their number."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tinyunet.core.errors import UserError

Json = dict[str, Any]

GPU = "nvidia.com/gpu"
# Each rank of a training on GPUs has these variables; those of `WorkerPods.env` replace them.
# NCCL_IB_DISABLE is not set: without an RDMA device in the pod, NCCL uses TCP by itself.
ENVIRONMENT = {
    # The interface of the pod network. NCCL also takes those of other networks, which may not reach all pods.
    "NCCL_SOCKET_IFNAME": "=eth0",
    # A failure of NCCL then prints its reason, and otherwise only an error number.
    "NCCL_DEBUG": "WARN",
    # The threads that start kernels are not those of the input, which would delay them.
    "TF_GPU_THREAD_MODE": "gpu_private",
}
# The variable and the mount point of the folder in which XLA keeps compiled steps.
COMPILE_CACHE = ("TINYUNET_COMPILE_CACHE", "/compile-cache")
TOLERATION: Json = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}  # the usual taint of GPU nodes
_RESOURCE = re.compile(r"[a-z0-9][a-z0-9.-]*\.[a-z]{2,}/[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", re.ASCII)


def with_defaults(resources: Mapping[str, Any]) -> Json:
    """Return the resources of a worker; values that are not given have the defaults for a worker on CPUs."""
    given_limits, given_requests = resources.get("limits") or {}, resources.get("requests") or {}
    limits = {"memory": "4Gi"} | dict(given_limits)
    requests = {"cpu": "500m", "memory": "1Gi"} | dict(given_requests)
    for name in ("cpu", "memory"):
        if name in given_limits and name not in given_requests:
            requests[name] = limits[name]  # Kubernetes refuses a default request above the given limit
    return {"requests": requests, "limits": limits}


def is_gpu(resource: str) -> bool:
    """Return whether a Kubernetes resource is a GPU or a part of one: `nvidia.com/mig-1g.10gb` is."""
    return resource.partition("/")[2].startswith(("gpu", "mig-"))


def is_part(resource: str) -> bool:
    """Return whether a resource is a part of a GPU: a MIG device, or a time-sliced GPU (`…/gpu.shared`)."""
    name = resource.rpartition("/")[2]
    return name.startswith("mig-") or name.endswith(".shared")


def worker_gpus(resources: Mapping[str, Any]) -> dict[str, int]:
    """Return the GPU resources of a worker pod and their number.

    Args:
        resources: `{"limits": …, "requests": …}` of the pod's container.

    Raises:
        UserError: if a name is no name of a resource, or a number is not a whole one.
    """
    limits = {
        str(name): value for name, value in (resources.get("limits") or {}).items() if is_gpu(str(name))
    }
    for name, value in limits.items():
        if not _RESOURCE.fullmatch(name):
            raise UserError(
                f"GPU resource {name!r}; expected DOMAIN/NAME, such as {GPU} or nvidia.com/mig-1g.10gb"
            )
        if not str(value).isdecimal():
            raise UserError(f"{name} is {value!r}; expected a whole number of GPUs for each worker")
    return {name: int(value) for name, value in limits.items() if int(value)}


def check_worker_gpus(slots: int, resources: Mapping[str, Any]) -> None:
    """Check that each rank of a worker has a GPU of its own; a worker without GPUs trains on the CPU.

    NCCL refuses two ranks on one GPU, and a process of CUDA sees only one MIG device.

    Raises:
        UserError: naming the numbers, and what to do.
    """
    for name, count in worker_gpus(resources).items():
        if is_part(name) and (slots, count) != (1, 1):
            raise UserError(
                f"slots_per_worker is {slots} and each worker has {count} {name}; expected 1 of both, since "
                'a pod uses one part of a GPU: set slots_per_worker=1, COMPILE="--gpus 1" and more workers'
            )
        if count != slots:
            raise UserError(
                f"slots_per_worker is {slots}, but each worker has {count} {name}; expected one per rank: "
                f'set slots_per_worker={count}, or compile with COMPILE="--gpus {slots}"'
            )


def describe_nodes(workers: int, resources: Mapping[str, Any], nodes: Sequence[Json] | None) -> str:
    """Return a line about the GPUs of the cluster's nodes; empty if the workers need none.

    Too few GPUs are no error here, because an autoscaler may add nodes.

    Args:
        workers: Number of worker pods.
        resources: See `worker_gpus`.
        nodes: Nodes as Kubernetes JSON; None if this account may not list them.
    """
    gpus = worker_gpus(resources)
    if not gpus:
        return ""
    name, count = next(iter(gpus.items()))
    needed = f"{workers} workers need {count} {name} each"
    if nodes is None:
        return f"{needed}; how many the nodes have is not known, because this account may not list nodes"
    present = [int(node.get("status", {}).get("allocatable", {}).get(name, 0)) for node in nodes]
    room = sum(one // count for one in present)
    largest = max(present, default=0)
    text = f"{needed}; the nodes have {sum(present)}, at most {largest} in one node"
    if 0 < largest < count:
        return (
            f"{text}: too few for one worker. Unless an autoscaler adds larger nodes, set slots_per_worker "
            f'to at most {largest} (COMPILE="--gpus N") and more workers'
        )
    if room >= workers:
        return f"{text}: room for {room} such workers, if nothing else uses them"
    return f"{text}: room for {room} such workers. The others wait until an autoscaler adds nodes"


def environment(resources: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of ranks that train on GPUs; none for CPUs."""
    return dict(ENVIRONMENT) if worker_gpus(resources) else {}


def shared_memory(slots: int, resources: Mapping[str, Any]) -> str:
    """Return the size of /dev/shm: 1 GiB for each GPU, as NVIDIA recommends for NCCL; 1 GiB on CPUs.

    NCCL and Open MPI exchange data between the ranks of a pod through it where GPUs do not reach each other
    directly. It counts towards the memory limit of the pod only as far as it is used.
    """
    return f"{slots if worker_gpus(resources) else 1}Gi"
