"""What every component shares: the image that the library is installed in, nothing installed at run time."""

from functools import partial

from kfp import dsl

# As `make images` names it. Compiling for a registry or another target: `TINYUNET_IMAGE=… make pipeline`.
IMAGE = "tinyunet/trainer-cpu:0.1.0"

component = partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
