"""The container image of an MPIJob's pods: its choice, and its digest."""

import os

from tinyunet.core.errors import UserError
from tinyunet.mpijob.client import Cluster
from tinyunet.mpijob.pods import PodImage, image_digests, image_of


def task_image() -> PodImage:
    """Return the image for the job's pods: TINYUNET_IMAGE, or else the image of the pod of this process.

    A pipeline task's pod also has the pull secrets of its service account. The job's pods, which have another
    account, need them for the same private registry.

    Raises:
        UserError: if TINYUNET_IMAGE is not set and this process does not run in a pipeline task's pod, or if
            the pod must not be read.
    """
    image, pod = os.environ.get("TINYUNET_IMAGE", ""), os.environ.get("KFP_POD_NAME")
    if pod:
        cluster = Cluster()
        if found := cluster.pod(pod):
            own = image_of(found)
            return own._replace(name=image or own.name)
        if not image:
            raise UserError(
                f"pod {cluster.namespace}/{pod} does not exist; set TINYUNET_IMAGE to the trainer image"
            )
    if not image:
        raise UserError(
            "TINYUNET_IMAGE is not set, and no pipeline task runs here; set it to the trainer image"
        )
    return PodImage(image)


def job_image_digest(name: str) -> str:
    """Return the digest of the image that the pods of an MPIJob run or ran, as the node reports it.

    It is empty if the pods cannot be read, or if their images differ because a tag was moved.
    """
    try:
        digests = image_digests(Cluster().pods(name))
    except UserError:
        return ""
    return digests.pop() if len(digests) == 1 else ""
