"""Which image the workers run."""

import os

from tinyunet.core.errors import UserError
from tinyunet.mpijob.client import Cluster


def task_image() -> str:
    """Give the image that this pod runs, for its job to use too; TINYUNET_IMAGE names another.

    Raises:
        UserError: if there is no pod and no such variable.
    """
    named, pod = os.environ.get("TINYUNET_IMAGE"), os.environ.get("KFP_POD_NAME")
    if named:
        return named
    if not pod:
        raise UserError("TINYUNET_IMAGE is not set and this is no task's pod; name the trainer image in it")
    return Cluster().image(pod)
