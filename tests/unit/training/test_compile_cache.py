"""The folder in which XLA keeps compiled steps for the next start."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST
from tinyunet.training.compile_cache import FLAGS_VARIABLE, FOLDER_VARIABLE, device_digest, use_compile_cache

# The arguments: number of tensors that exist before the step, as after a restored checkpoint.
STEP = """
import sys
import keras, numpy as np, tensorflow as tf
from tinyunet.core.presets import FAST
from tinyunet.data.dataset import Batch
from tinyunet.training.compile_cache import use_compile_cache
from tinyunet.training.distributed import World
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep

config = FAST.replace({"image_size": 32, "global_batch": 2, "jit": "true", "max_zoom": 0.0})
use_compile_cache(config)
keras.utils.set_random_seed(0)
inputs = keras.Input((32, 32, 1))
model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
step = TrainStep(model, build_optimizer(config, "float32"), config, World())
earlier = [tf.zeros(1) for _ in range(int(sys.argv[1]))]
pixels, ones = np.full((2, 32, 32), 9, np.uint8), np.ones(2, np.float32)
warps = np.tile(np.float32([1, 0, 0, 0, 1, 0, 0, 0]), (2, 1))
print(float(step(Batch(pixels, pixels, ones, 0 * ones, warps, ("a", "b"))).loss))
"""


def test_a_start_with_other_tensors_before_its_step_reads_what_the_first_one_compiled(
    python: str, tmp_path: Path
) -> None:
    environment = os.environ | {FOLDER_VARIABLE: str(tmp_path / "cache")}
    losses, states = [], []
    for tensors in ("0", "100"):
        done = subprocess.run(
            [python, "-c", STEP, tensors], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        losses.append(float(done.stdout))
        files = (tmp_path / "cache").rglob("*.pb")
        states.append({path.name: path.stat().st_mtime_ns for path in files})
    assert len(states[0]) == 2, "the forward and the backward pass"
    assert states[1] == states[0], "nothing was compiled again"
    assert losses[1] == losses[0]


def test_a_folder_that_cannot_be_written_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow itself ends the training at such a folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file"))
    monkeypatch.delenv(FLAGS_VARIABLE, raising=False)
    assert use_compile_cache(FAST) is None
    assert FLAGS_VARIABLE not in os.environ
    assert "warning: no cache of compiled steps" in capsys.readouterr().err


def test_the_flags_that_were_set_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv(FLAGS_VARIABLE, "--tf_xla_clustering_debug")
    folder = use_compile_cache(FAST)
    assert folder == tmp_path / device_digest()
    expected = f"--tf_xla_clustering_debug --tf_xla_persistent_cache_directory={folder}"
    assert os.environ[FLAGS_VARIABLE] == expected


def test_a_path_that_tensorflow_would_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "/a folder")
    with pytest.raises(UserError, match="TINYUNET_COMPILE_CACHE is '/a folder'; expected a path without"):
        use_compile_cache(FAST)


def test_two_kinds_of_gpus_have_different_folders(tmp_path: Path) -> None:
    digests = []
    for name, uuid in (("NVIDIA A100", "GPU-1"), ("NVIDIA H100", "GPU-1"), ("NVIDIA A100", "GPU-2")):
        file = tmp_path / "0000:1b:00.0" / "information"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"Model: \t\t {name}\nIRQ:   \t\t 9\nGPU UUID: \t {uuid}\n")
        digests.append(device_digest(tmp_path))
    assert digests[0] != digests[1]
    assert digests[0] == digests[2], "another GPU of the same kind"


@pytest.mark.parametrize("changes", [{"jit": "false"}, {"deterministic": True}])
def test_a_training_without_xla_makes_no_folder(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    assert use_compile_cache(FAST.replace(changes)) is None
    assert list(tmp_path.iterdir()) == []
