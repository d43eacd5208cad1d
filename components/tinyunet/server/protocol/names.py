"""The names and types of the tensors, and the import of kserve."""

import sys
from importlib import import_module
from typing import Any

Untyped = Any  # objects of kserve and gRPC, which have no type information
INPUT = "images"
MAPS = ("probability", "mask")  # outputs with a number for every pixel
OUTPUTS = {"probability": "FP32", "mask": "UINT8", "score": "FP32", "defective": "UINT8"}


def kserve_module(name: str) -> Untyped:
    """Import `kserve.<name>`.

    kserve parses the command line when it is imported, and an option of this program could be a short form of
    one of its own. It therefore sees an empty command line.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        return import_module(f"kserve.{name}")
    finally:
        sys.argv = arguments
