"""TinyUNet: segmentation of surface defects, from images to a registered model.

The functions of `__all__` do the same as the subcommands of `tinyunet` with these names. `import tinyunet`
loads none of the packages that they need; a function is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyunet.data.ingest import ingest
    from tinyunet.data.tfrecord import convert
    from tinyunet.evaluation.evaluate import evaluate
    from tinyunet.launch.train import train
    from tinyunet.registry.register import register
    from tinyunet.serving.predict import predict

__version__ = "0.1.0"
__all__ = ["convert", "evaluate", "ingest", "predict", "register", "train"]

_MODULES = {
    "ingest": "tinyunet.data.ingest",
    "convert": "tinyunet.data.tfrecord",
    "train": "tinyunet.launch.train",
    "evaluate": "tinyunet.evaluation.evaluate",
    "register": "tinyunet.registry.register",
    "predict": "tinyunet.serving.predict",
}


def __getattr__(name: str) -> object:
    """Import a function of `__all__`."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the names of the package, with the functions that are not imported yet."""
    return sorted({*globals(), *__all__})
