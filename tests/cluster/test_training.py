"""A training as an MPIJob: Horovod ranks with TensorFlow in pods."""

import dataclasses

from boot import Cluster
from conftest import Shell, list_objects, mounted_environment
from images import RANKS

from tinyunet.mpijob.example import EXAMPLE
from tinyunet.mpijob.run import run_mpijob


def test_two_horovod_ranks_train_in_mixed_precision(cluster: Cluster, shell: Shell) -> None:
    mounted = mounted_environment(cluster, shell.namespace)
    pods = dataclasses.replace(mounted, env=EXAMPLE.pods.env)
    job = dataclasses.replace(EXAMPLE, namespace=shell.namespace, image=RANKS, pods=pods, restarts=0)
    lines: list[str] = []
    run_mpijob(job, log=lambda line: (print(line), lines.append(line)))
    assert lines[-1].endswith("succeeded")
    assert any("step 20/20" in line for line in lines)
    assert list_objects(cluster, "mpijobs", shell.namespace)[0]["status"]["completionTime"]
