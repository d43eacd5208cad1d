"""The certificates of a private CA, in the pods of an MPIJob."""

from typing import Any

from tinyunet.core.network import CA_CONFIG_MAP, CA_MOUNT

_VOLUME = {"name": CA_CONFIG_MAP, "configMap": {"name": CA_CONFIG_MAP, "optional": True}}
_MOUNT = {"name": CA_CONFIG_MAP, "mountPath": str(CA_MOUNT.parent), "readOnly": True}


def with_certificates(template: dict[str, Any]) -> dict[str, Any]:
    """Return a pod template whose containers mount the ConfigMap with the CA; a pod starts without it, too.

    A template that has a volume of this name already is returned as it is.
    """
    pod = template["spec"]
    if any(volume["name"] == CA_CONFIG_MAP for volume in pod["volumes"]):
        return template
    containers = [one | {"volumeMounts": [*one["volumeMounts"], dict(_MOUNT)]} for one in pod["containers"]]
    return template | {"spec": pod | {"containers": containers, "volumes": [*pod["volumes"], dict(_VOLUME)]}}
