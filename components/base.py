"""What every component shares: an image that the library is installed in, nothing installed at run time."""

from functools import partial

from kfp import dsl

# As `make images` names them, the second for training on GPUs; `make pipeline REGISTRY=… TAG=…` names others.
IMAGE = "tinyunet/trainer-cpu:0.1.0"
GPU_IMAGE = "tinyunet/trainer:0.1.0"

component = partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
