"""A folder of compiled steps, from which XLA reads what an earlier start has compiled."""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework import ops

from tinyunet.core.config import TrainConfig
from tinyunet.core.config_base import digest
from tinyunet.core.console import say
from tinyunet.core.errors import require

FOLDER_VARIABLE = "TINYUNET_COMPILE_CACHE"
FLAGS_VARIABLE = "TF_XLA_FLAGS"
GPUS = Path("/proc/driver/nvidia/gpus")
NAMES = 1 << 17  # more than the names and tensors that a training makes before its first step


def use_compile_cache(config: TrainConfig) -> Path | None:
    """Make XLA use the folder TINYUNET_COMPILE_CACHE, if it is set and `jit` is not false.

    TensorFlow reads its variable TF_XLA_FLAGS when the devices are listed, so this must be called before. A
    folder that cannot be written is not used, because TensorFlow would end the training.

    Returns:
        The subfolder for this device and this TensorFlow; None if none is used.

    Raises:
        UserError: if the variable has white space, at which TensorFlow divides its flags.
    """
    value = os.environ.get(FOLDER_VARIABLE, "").strip()
    if not value or config.jit == "false" or config.deterministic:
        return None
    require(not re.search(r"\s", value), FOLDER_VARIABLE, value, "a path without white space")
    folder = Path(value) / device_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        say(f"tinyunet: warning: no cache of compiled steps: {error}; XLA compiles at each start")
        return None
    flag = f"--tf_xla_persistent_cache_directory={folder}"
    os.environ[FLAGS_VARIABLE] = f"{os.environ.get(FLAGS_VARIABLE, '')} {flag}".strip()
    return folder


def device_digest(gpus: Path = GPUS) -> str:
    """Return a digest of the models of the GPUs, or of the CPU, and of TensorFlow's build.

    The names of XLA's files contain the kind of the device, GPU or CPU, and not the model of it. Without this
    digest, XLA would load the kernels of an A100 on an H100, or those of another version.

    Args:
        gpus: Folder of the GPUs, in which NVIDIA's driver describes each of them in a file `information`.
    """
    models = _values(sorted(gpus.glob("*/information")), "Model")
    device = models or _values([Path("/proc/cpuinfo")], "flags")
    build = {"version": tf.version.VERSION, "commit": tf.version.GIT_VERSION, **tf.sysconfig.get_build_info()}
    return digest({"device": device, "build": {name: str(value) for name, value in build.items()}})


def _values(files: Sequence[Path], name: str) -> list[str]:
    """Return the different values of the lines `name: value` of text files."""
    lines = [
        line.partition(":") for file in files if file.is_file() for line in file.read_text().splitlines()
    ]
    return sorted({value.strip() for key, _, value in lines if key.strip() == name})


def align_names() -> None:
    """Make the names of the functions that are traced next independent of what came before.

    XLA finds a compiled function by its name, among others. TensorFlow numbers the names by a counter, which
    also counts tensors: a resumed training, or another rank, would not find what the first start compiled.
    """
    while ops.uid() % NAMES:
        pass
