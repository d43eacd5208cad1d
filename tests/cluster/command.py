"""The cluster from the shell: `make cluster`, `make cluster-images`, `make cluster-down`."""

import sys
import time

from boot import Cluster
from images import deployment_images, target_image
from machine import CannotHost


def up(cluster: Cluster) -> None:
    """Start the cluster, unless it already runs; it runs until `make cluster-down`."""
    start = time.monotonic()
    if cluster.answers():
        print("the cluster already runs (make cluster-down stops it)")
    else:
        cluster.up()
        print(f"ready in {time.monotonic() - start:.1f} s; the MPI Operator is a process of this machine")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def load_images(cluster: Cluster) -> None:
    """Build the images of k8s/mpijob.yaml, the local overlay and the servers; load them into the node."""
    if not cluster.answers():
        raise CannotHost("the cluster does not run; start it first (make cluster)")
    for archive in [*deployment_images(), *map(target_image, ("trainer-cpu", "serving"))]:
        cluster.load(archive)
        print(f"loaded {archive.stem}", flush=True)


VERBS = {"up": up, "images": load_images, "down": Cluster.down}

if __name__ == "__main__":
    try:
        VERBS[sys.argv[1]](Cluster())
    except CannotHost as error:
        sys.exit(f"cluster: {error}")
