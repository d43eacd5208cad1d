"""What every component shares: the image that the library is installed in, nothing installed at run time."""

from functools import partial

from kfp import dsl

# Compiling for another registry or target replaces this reference: `TINYUNET_IMAGE=… make pipeline`.
IMAGE = "ghcr.io/tinyunet/tinyunet-python:0.1.0"

component = partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
