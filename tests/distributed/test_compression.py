"""Gradients that two real ranks exchange as float16."""

import json
import subprocess
from pathlib import Path

from tinyunet.launch.local_ranks import mpirun

FINE = 1 + 2**-12  # the significand of float16 has 11 bits, so that float16 rounds this number to 1
PROGRAM = f"""
import json
import tensorflow as tf
from tinyunet.training.distributed import init

world = init()
tensors = [tf.constant([{FINE}, 3.0]), tf.constant([[float(world.rank)]])]
sums, types = {{}}, set()
for kind in ("none", "fp16"):
    totals = world.sum_all(tensors, compression=kind)
    sums[kind] = [t.numpy().tolist() for t in totals]
    types |= {{t.dtype.name for t in totals}}
if world.is_chief:
    print(json.dumps(sums | {{"types": list(types)}}))
world.shutdown()
"""


def test_gradients_are_sent_as_float16_and_returned_as_float32(tmp_path: Path, python: str) -> None:
    command = [*mpirun(2), python, "-c", PROGRAM]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    sums = json.loads(result.stdout.strip().splitlines()[-1])
    assert sums["none"] == [[2 * FINE, 6.0], [[1.0]]]
    assert sums["fp16"] == [[2.0, 6.0], [[1.0]]]
    assert sums["types"] == ["float32"]
