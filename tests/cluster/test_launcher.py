"""The MPIJob launcher on a real cluster: success first."""

from boot import Cluster
from conftest import Shell, items

from tinyunet.runtime.mpijob import run_mpijob


def test_two_ranks_run_to_success_and_the_workers_are_released(cluster: Cluster, shell: Shell) -> None:
    lines: list[str] = []
    run_mpijob(shell.job('echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE"'), log=lines.append)
    assert "rank 0 of 2" in lines
    assert "rank 1 of 2" in lines
    assert lines[-1].endswith("succeeded")
    left = [
        pod["metadata"]["name"]
        for pod in items(cluster, "pods", shell.namespace)
        if pod["status"]["phase"] == "Running"
    ]
    assert left == []
