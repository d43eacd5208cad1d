"""GPUs of the workers: what their pods get, and which numbers are refused or reported."""

from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.mpijob.resources import ENVIRONMENT, check_worker_gpus, describe_nodes, is_gpu, worker_gpus
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods, build

MIG, SHARED = "nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"


def limits(**gpus: int | str) -> dict[str, Any]:
    return {"limits": {f"nvidia.com/{name}": count for name, count in gpus.items()}}


def node(**gpus: int) -> dict[str, Any]:
    return {"status": {"allocatable": {"cpu": "64"} | {f"nvidia.com/{k}": str(v) for k, v in gpus.items()}}}


def job(slots: int, resources: dict[str, Any], env: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    pods = WorkerPods(resources=resources, env=env)
    spec = MPIJobSpec(name="a", image="i", command=("x",), slots_per_worker=slots, pods=pods)
    return dict(build(spec)["spec"]["mpiReplicaSpecs"])


def environment(job: dict[str, Any], role: str) -> dict[str, str]:
    (container,) = job[role]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def shm(job: dict[str, Any]) -> str:
    volumes = {one["name"]: one for one in job["Worker"]["template"]["spec"]["volumes"]}
    return str(volumes["shm"]["emptyDir"]["sizeLimit"])


def test_every_rank_on_gpus_has_the_settings_of_nccl_and_a_job_on_cpus_has_none() -> None:
    gpus, cpus = job(8, limits(gpu=8)), job(8, {})
    (launcher,) = gpus["Launcher"]["template"]["spec"]["containers"]
    for name, value in ENVIRONMENT.items():
        assert environment(gpus, "Worker")[name] == value
        assert launcher["command"][launcher["command"].index(name) - 1] == "-x"
    assert not ENVIRONMENT.keys() & environment(cpus, "Launcher").keys()
    own = job(1, limits(gpu=1), ({"name": "NCCL_SOCKET_IFNAME", "value": "net1"},))
    assert environment(own, "Launcher")["NCCL_SOCKET_IFNAME"] == "net1"


def test_shared_memory_grows_with_the_gpus_of_a_worker() -> None:
    assert (shm(job(8, limits(gpu=8))), shm(job(1, limits(gpu=1))), shm(job(8, {}))) == ("8Gi", "1Gi", "1Gi")


@pytest.mark.parametrize(
    ("resource", "expected"),
    [("nvidia.com/gpu", True), (MIG, True), (SHARED, True), ("amd.com/gpu", True), ("cpu", False),
     ("memory", False), ("nvidia.com/hostdev", False), ("rdma/hca", False)],
)  # fmt: skip
def test_gpus_are_told_from_other_devices(resource: str, expected: bool) -> None:
    assert is_gpu(resource) is expected


def test_parts_of_gpus_reach_the_workers_under_their_own_names() -> None:
    for name in (MIG, SHARED):
        resources = {"limits": {name: "1", "memory": "16G"}}
        (container,) = job(1, resources)["Worker"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == resources["limits"]
        assert worker_gpus(resources) == {name: 1}
        check_worker_gpus(1, resources)


@pytest.mark.parametrize(
    ("slots", "resources", "message"),
    [
        (4, limits(gpu=1), r"slots_per_worker is 4, but each worker has 1 nvidia.com/gpu; expected one per "
            r'rank: set slots_per_worker=1, or compile with COMPILE="--gpus 4"'),
        (1, limits(gpu="8"), r"slots_per_worker is 1, but each worker has 8 nvidia.com/gpu"),
        (2, {"limits": {MIG: 2}}, r"slots_per_worker is 2 and each worker has 2 nvidia.com/mig-1g.10gb; exp"),
        (2, {"limits": {SHARED: 1}}, r"each worker has 1 nvidia.com/gpu.shared; expected 1 of both"),
        (1, limits(gpu="half"), r"nvidia.com/gpu is 'half'; expected a whole number"),
        (1, {"limits": {"x/gpu": 1}}, r"GPU resource 'x/gpu'; expected DOMAIN/NAME"),
    ],
)  # fmt: skip
def test_a_rank_without_a_gpu_of_its_own_is_refused(slots: int, resources: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_worker_gpus(slots, resources)


def test_ranks_may_share_the_cpus_of_a_worker() -> None:
    check_worker_gpus(4, {})
    check_worker_gpus(4, limits(gpu=0))
    check_worker_gpus(4, limits(gpu=4))


@pytest.mark.parametrize(
    ("workers", "nodes", "text"),
    [
        (3, [node(gpu=8), node(gpu=4), node()], "the nodes have 12, at most 8 in one node: room for 3 such "
            "workers, if nothing else uses them"),
        (4, [node(gpu=8), node(gpu=7)], "at most 8 in one node: room for 3 such workers. The others wait"),
        (1, [node(gpu=2)], "at most 2 in one node: too few for one worker. Unless an autoscaler adds larger "
            "nodes, set slots_per_worker to at most 2"),
        (1, [], "the nodes have 0, at most 0 in one node: room for 0"),
        (1, None, "how many the nodes have is not known, because this account may not list nodes"),
    ],
)  # fmt: skip
def test_the_gpus_of_the_nodes_are_compared_with_workers_of_four(workers: int, nodes: Any, text: str) -> None:
    line = describe_nodes(workers, limits(gpu=4), nodes)
    assert line.startswith(f"{workers} workers need 4 nvidia.com/gpu each; ")
    assert text in line
    assert describe_nodes(workers, {}, nodes) == ""
