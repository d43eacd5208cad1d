"""Selection of the container image of an MPIJob's pods."""

import os

from tinyunet.core.errors import UserError
from tinyunet.mpijob.client import Cluster


def task_image() -> str:
    """Return the image for the job's pods: TINYUNET_IMAGE, or else the image of the pod of this process.

    Raises:
        UserError: if TINYUNET_IMAGE is not set and this process does not run in a pipeline task's pod.
    """
    image, pod = os.environ.get("TINYUNET_IMAGE"), os.environ.get("KFP_POD_NAME")
    if image:
        return image
    if not pod:
        raise UserError(
            "TINYUNET_IMAGE is not set, and no pipeline task runs here; set it to the trainer image"
        )
    return Cluster().image(pod)
