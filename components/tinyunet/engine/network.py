"""The bare network of an engine folder, run by OpenVINO on the CPU."""

import hashlib
import importlib
import sys
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.console import cores
from tinyunet.core.errors import UserError
from tinyunet.model.precision import cpu_has_bfloat16, cpu_has_int8

FILE = "network.onnx"
INT8_FILES = ("network-int8.xml", "network-int8.bin")  # graph and weights of OpenVINO
INT8 = "int8"
# Names in OpenVINO. What an int8 network does not compute in int8 is faster in float32 than in bfloat16.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", INT8: "f32"}

_REPORTS = "openvino_telemetry"


def resolve(precision: str, folder: Path) -> str:
    """Return the precision of an option: `auto` is the fastest one that the CPU and the engine have.

    Args:
        precision: auto, int8, bfloat16 or float32.
        folder: The engine folder.

    Raises:
        UserError: for another name, or for int8 without such a network.
    """
    if precision == "auto":
        if cpu_has_int8() and has_int8(folder):
            return INT8
        return "bfloat16" if cpu_has_bfloat16() else "float32"
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}: expected auto, bfloat16, float32 or int8")
    if precision == INT8 and not has_int8(folder):
        raise UserError(
            f"precision 'int8': {folder} has no int8 network; expected auto, bfloat16 or float32, or a model "
            "that was registered with --records"
        )
    return precision


def has_int8(folder: Path) -> bool:
    """Return whether an engine folder has an int8 network."""
    return all(file.is_file() for file in network_files(folder, INT8))


def network_files(folder: Path, precision: str) -> list[Path]:
    """Return the files of the network that computes in a precision; the first one is its graph."""
    return [folder / name for name in (INT8_FILES if precision == INT8 else (FILE,))]


def sha256(files: Iterable[Path]) -> str:
    """Return the SHA-256 over files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def core() -> Any:  # noqa: ANN401  OpenVINO has no types
    """Return the only core of this process, which is never destroyed.

    The CPU plugin of a core sets an alternate stack for signals in the thread that loads it, and unmaps it
    when it is destroyed, also in another thread. The next signal would then end the process (SIGSEGV).
    """
    return import_without_reports("openvino").Core()


def import_without_reports(name: str) -> Any:  # noqa: ANN401  a module
    """Import OpenVINO or NNCF without the module by which they report their use to a server on the internet.

    Both work without it.
    """
    reports = sys.modules.get(_REPORTS)
    sys.modules[_REPORTS] = None  # type: ignore[assignment]  # its import raises ImportError
    try:
        return importlib.import_module(name)
    finally:
        sys.modules.pop(_REPORTS, None)
        if reports is not None:
            sys.modules[_REPORTS] = reports


class Network:
    """A compiled network; it may be called from several threads, which it serves one after the other."""

    def __init__(self, file: Path, precision: str) -> None:
        """Compile the network.

        Args:
            file: The ONNX file, or the graph of an int8 network.
            precision: A key of PRECISIONS.

        Raises:
            UserError: if the file is missing, or is not a network that OpenVINO compiles.
        """
        if not file.is_file():
            raise UserError(f"{file} does not exist; expected an engine folder: register the model again")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": cores(),
        }
        try:
            compiled = core().compile_model(str(file), "CPU", options)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-200:]
            raise UserError(f"{file} cannot be compiled ({reason}); register the model again") from error
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # one request, so that the memory is that of one forward pass

    def __call__(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits float32 [B, H, W, 1] of levels float32 [B, H, W, C]."""
        with self._lock:
            output: Any = self._request.infer([np.ascontiguousarray(levels)], share_inputs=True)
            return np.array(output[0], np.float32)
