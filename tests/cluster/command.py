"""The cluster from the shell: `make cluster`, `make cluster-images`, `make cluster-down`."""

import sys
import time

from boot import down, up
from cluster import Cluster
from images import deployment_images, target_image
from machine import CannotHost


def start(cluster: Cluster) -> None:
    """Start the cluster, unless it already runs; it runs until `make cluster-down`."""
    begin = time.monotonic()
    if cluster.answers():
        print("the cluster already runs (make cluster-down stops it)")
    else:
        up(cluster)
        print(f"ready in {time.monotonic() - begin:.1f} s; the MPI Operator is a process of this machine")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def load_images(cluster: Cluster) -> None:
    """Build the images of k8s/mpijob.yaml, the local overlay and the servers; load them into the node."""
    if not cluster.answers():
        raise CannotHost("the cluster does not run; start it first (make cluster)")
    for archive in [*deployment_images(), *map(target_image, ("trainer-cpu", "serving"))]:
        cluster.load(archive)
        print(f"loaded {archive.stem}", flush=True)


VERBS = {"up": start, "images": load_images, "down": down}

if __name__ == "__main__":
    try:
        VERBS[sys.argv[1]](Cluster())
    except CannotHost as error:
        sys.exit(f"cluster: {error}")
