"""Settings of all components: an image that contains the library, and no installation at run time."""

from functools import partial

from kfp import dsl

# The image names of `make images`; GPU_IMAGE trains on GPUs. `make pipeline REGISTRY=… TAG=…` changes them.
IMAGE = "tinyunet/trainer-cpu:0.1.0"
GPU_IMAGE = "tinyunet/trainer:0.1.0"

component = partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
