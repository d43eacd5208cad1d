"""The bare network of an engine folder, run by OpenVINO on the CPU."""

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.console import cores
from tinyunet.core.errors import UserError
from tinyunet.model.precision import cpu_has_bfloat16

FILE = "network.onnx"
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}  # and their names in OpenVINO


def resolve(precision: str) -> str:
    """Return the precision of an option: `auto` is bfloat16 where the CPU multiplies it, else float32.

    Raises:
        UserError: for another name.
    """
    if precision == "auto":
        return "bfloat16" if cpu_has_bfloat16() else "float32"
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}: expected auto, float32 or bfloat16")
    return precision


@cache
def _core() -> Any:  # noqa: ANN401  OpenVINO has no types
    """Return the only core of this process, which is never destroyed.

    The CPU plugin of a core sets an alternate stack for signals in the thread that loads it, and unmaps it
    when it is destroyed, also in another thread. The next signal would then end the process (SIGSEGV).
    """
    import openvino  # type: ignore[import-untyped]

    return openvino.Core()


class Network:
    """A compiled network; it may be called from several threads, which it serves one after the other."""

    def __init__(self, file: Path, precision: str) -> None:
        """Compile the network.

        Args:
            file: The ONNX file.
            precision: `float32` or `bfloat16`, of the convolutions.

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
            compiled = _core().compile_model(str(file), "CPU", options)
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
