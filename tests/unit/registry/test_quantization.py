"""The graph that is quantized, and what the quantization leaves behind."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.engines import write_engine
from tinyunet.engine.network import core
from tinyunet.model.unet import build_unet
from tinyunet.registry.quantization import split_concatenations
from tinyunet.serving.onnx_network import to_onnx

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from tinyunet.registry.quantization import quantize

quantize(Path(sys.argv[1]), [np.zeros((1, 32, 32, 1), np.float32)])
"""


def convolutions_of_concatenations(model: Any) -> int:
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return sum(node.input_value(0).get_node().get_type_name() == "Concat" for node in convolutions)


def test_a_network_without_concatenations_computes_the_same(tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    file.write_bytes(to_onnx(build_unet(seed=3, scale=0.02, offset=-2.5, plain=True)).SerializeToString())
    before, after = core().read_model(file), core().read_model(file)
    split_concatenations(after)
    assert [convolutions_of_concatenations(model) for model in (before, after)] == [4, 0]
    levels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 1)).astype(np.float32)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    one, two = (core().compile_model(model, "CPU", options)(levels)[0] for model in (before, after))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_nothing_is_printed_and_nothing_is_reported_to_the_vendor(tmp_path: Path) -> None:
    folder, home = write_engine(tmp_path / "engine"), tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env={"HOME": str(home)}
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert list(home.iterdir()) == []
