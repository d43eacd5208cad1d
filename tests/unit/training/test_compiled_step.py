"""The step that XLA compiles takes the same step as the one that is not compiled."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinyunet.core.config import TrainConfig
from tinyunet.core.config_base import digest
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST, with_missing_options
from tinyunet.data.augment import warps
from tinyunet.data.dataset import Batch
from tinyunet.model.layers import JoinedConv2D, UpConv2D
from tinyunet.training.distributed import World
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep, uses_xla

SIZE, IMAGES = 64, 2
CONFIG = FAST.replace({"image_size": SIZE, "global_batch": IMAGES, "max_rotation": 10.0, "steps": 100})


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIZE, SIZE), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[0, 16:40, 16:40] = 255
    gain, bias = np.ones(IMAGES, np.float32), np.zeros(IMAGES, np.float32)
    transforms = warps(rng.uniform(-0.1, 0.1, IMAGES), np.ones(IMAGES), SIZE)
    return Batch(images, masks, gain, bias, transforms, ("a", "b"))


def small_network(precision: str) -> keras.Model:
    """Return a network of the layers of the U-Net that is compiled faster, with float32 logits."""
    keras.utils.set_random_seed(1)
    grey = keras.Input((SIZE, SIZE, 1))
    options: dict[str, Any] = {"padding": "same", "activation": "relu", "dtype": precision}
    own: dict[str, Any] = {"kernel_initializer": keras.initializers.HeUniform(seed=1), "dtype": precision}
    top = keras.layers.Conv2D(4, 3, **options)(keras.layers.Rescaling(1 / 64)(grey))
    low = keras.layers.Conv2D(8, 3, **options)(keras.layers.MaxPooling2D(dtype=precision)(top))
    both = JoinedConv2D(4, 3, **own)([UpConv2D(4, **own)(low), top])
    return keras.Model(grey, keras.layers.Conv2D(1, 1, dtype="float32")(both))


def take_steps(
    model: keras.Model, config: TrainConfig, batch: Batch, precision: str, count: int
) -> TrainStep:
    step = TrainStep(model, build_optimizer(config, precision), config, World())
    for _ in range(count):
        step(batch)
    return step


def compiled_calls(step: TrainStep, batch: Batch) -> int:
    """Return the number of calls in the graph of the step that XLA must compile."""
    inputs = (batch.images, batch.masks, batch.gain, batch.bias, batch.warps, np.float32(0))
    graph = step._run.get_concrete_function(*map(tf.constant, inputs)).graph.as_graph_def()
    functions = {one.signature.name for one in graph.library.function if one.attr["_XlaMustCompile"].b}
    return sum(node.attr["f"].func.name in functions for node in graph.node)


@pytest.mark.parametrize(
    ("precision", "accumulate", "tolerance"),
    [("float32", 1, 1e-5), ("float32", 2, 1e-5), ("mixed_float16", 1, 5e-3)],
)
def test_the_compiled_step_changes_the_weights_as_the_other_one(
    precision: str, accumulate: int, tolerance: float, batch: Batch
) -> None:
    """The tolerance is a part of the largest change; every sum in float16 is rounded by up to 5e-4."""
    weights = []
    for jit in ("false", "true"):
        model = small_network(precision)
        before = np.concatenate([w.ravel() for w in model.get_weights()])
        config = CONFIG.replace(
            {"jit": jit, "accumulate": accumulate, "optimizer": "rmsprop_tf1", "ema": 0.0}
        )
        take_steps(model, config, batch, precision, count=2)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]) - before)
    assert np.abs(weights[0]).max() > 0
    np.testing.assert_allclose(weights[1], weights[0], rtol=0, atol=tolerance * np.abs(weights[0]).max())


def test_both_passes_are_compiled_and_only_if_this_is_asked_for(batch: Batch) -> None:
    steps = {jit: take_steps(small_network("float32"), CONFIG.replace({"jit": jit}), batch, "float32", 0)
             for jit in ("true", "false", "auto")}  # fmt: skip
    calls = {jit: compiled_calls(step, batch) for jit, step in steps.items()}
    assert calls["true"] >= 2, "the forward and the backward pass"
    assert calls["false"] == 0
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    assert (calls["auto"] > 0) is on_gpu
    assert not uses_xla(CONFIG.replace({"deterministic": True}))


def test_the_option_changes_no_identity_of_an_older_training() -> None:
    recorded = {key: value for key, value in FAST.to_dict().items() if key != "jit"}
    older = TrainConfig(**with_missing_options(recorded))
    assert older.jit == "auto"
    assert older.resume_identity() == FAST.replace({"jit": "true"}).resume_identity()
    assert "jit" not in older.resume_identity()
    assert FAST.digest() == FAST.replace({"jit": "true"}).digest() == digest(recorded)


def test_yaml_values_are_accepted_and_others_are_refused() -> None:
    assert [FAST.replace({"jit": value}).jit for value in (True, False, "auto")] == ["true", "false", "auto"]
    with pytest.raises(UserError, match="jit"):
        FAST.replace({"jit": "yes"})
    with pytest.raises(UserError, match="jit is 'true'; expected auto or false with deterministic=true"):
        FAST.replace({"jit": "true", "deterministic": True})
