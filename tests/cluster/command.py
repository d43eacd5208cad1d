"""The cluster from the shell: `make cluster`, `make cluster-images`, `make cluster-down`."""

import sys
import time

from boot import Cluster
from images import deployment_images, target_image
from machine import CannotHost


def up(cluster: Cluster) -> None:
    """Boot it and leave it running; one that runs is left alone."""
    start = time.monotonic()
    if cluster.answers():
        print("it runs already (make cluster-down ends it)")
    else:
        cluster.up()
        print(f"ready in {time.monotonic() - start:.1f} s; the MPI Operator is a process of this machine")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def load_images(cluster: Cluster) -> None:
    """Build what k8s/mpijob.yaml and the local overlay ask for, and load it: the node has no registry."""
    if not cluster.answers():
        raise CannotHost("it does not run; make cluster first")
    for archive in [*deployment_images(), target_image("trainer-cpu")]:
        cluster.load(archive)
        print(f"loaded {archive.stem}", flush=True)


VERBS = {"up": up, "images": load_images, "down": Cluster.down}

if __name__ == "__main__":
    try:
        VERBS[sys.argv[1]](Cluster())
    except CannotHost as error:
        sys.exit(f"cluster: {error}")
