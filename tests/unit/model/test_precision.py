"""Training steps in mixed precision on the CPU: loss scaling, and a gradient that overflows."""

import keras
import numpy as np
import pytest

from tinyunet.core.config import TrainConfig
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.data.augment import warps
from tinyunet.data.dataset import Batch
from tinyunet.model.unet import build_unet
from tinyunet.training.distributed import World
from tinyunet.training.optimizer import averaged_weights, build_optimizer
from tinyunet.training.step import TrainStep

SIZE = 32


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, SIZE, SIZE), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[:2, 8:20, 8:20] = 255
    ones = np.ones(4, np.float32)
    return Batch(images, masks, ones, 0 * ones, warps(0 * ones, ones, SIZE), tuple("abcd"))


def make_step(
    config: TrainConfig, precision: str
) -> tuple[keras.Model, keras.optimizers.Optimizer, TrainStep]:
    model = build_unet(SIZE, seed=1, precision=precision)
    optimizer = build_optimizer(config, precision)
    return model, optimizer, TrainStep(model, optimizer, config, World())


@pytest.mark.parametrize("preset", [FAST, NVIDIA], ids=["fast", "nvidia"])
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_step_in_mixed_precision_has_the_losses_and_the_gradient_norm_of_a_float32_step(
    preset: TrainConfig, precision: str, batch: Batch
) -> None:
    config = preset.replace({"image_size": SIZE, "global_batch": 4, "steps": 100})
    float32, mixed = (make_step(config, p)[2](batch) for p in ("float32", precision))
    for name in ("loss", "bce", "dice_loss", "l2"):
        assert float(getattr(mixed, name)) == pytest.approx(float(getattr(float32, name)), rel=0.02), name
    assert float(mixed.gradient_norm) == pytest.approx(float(float32.gradient_norm), rel=0.1), "unscaled"


def test_float16_steps_change_all_weights_which_stay_float32(batch: Batch) -> None:
    config = FAST.replace({"image_size": SIZE, "global_batch": 4, "steps": 100})
    model, optimizer, step = make_step(config, "mixed_float16")
    before = model.get_weights()
    losses = [float(step(batch).loss) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert int(optimizer.iterations.numpy()) == 8
    assert float(optimizer.dynamic_scale.numpy()) == 2.0**15
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(changed), f"{changed.count(False)} weights did not change"
    assert {w.dtype for w in model.get_weights()} == {np.dtype(np.float32)}


def test_an_overflowing_gradient_skips_the_step_and_halves_the_scale(batch: Batch) -> None:
    config = FAST.replace({"image_size": SIZE, "global_batch": 4, "steps": 100})
    model, optimizer, step = make_step(config, "mixed_float16")
    optimizer.dynamic_scale.assign(2.0**40)  # the largest float16 is 65,504
    before = model.get_weights()
    result = step(batch)
    assert np.isfinite(float(result.loss)), "the loss itself is not scaled"
    assert not np.isfinite(float(result.gradient_norm))
    assert float(optimizer.dynamic_scale.numpy()) == 2.0**39
    assert int(optimizer.iterations.numpy()) == 0, "the learning rate schedule does not count the step"
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_averaged_weights_are_in_the_model_inside_the_block_only(precision: str, batch: Batch) -> None:
    config = FAST.replace({"image_size": SIZE, "global_batch": 4, "steps": 100, "warmup_steps": 0})
    model, optimizer, step = make_step(config, precision)
    history = []
    for _ in range(3):
        step(batch)
        history.append(model.get_weights()[0])
    expected = history[0]  # the average begins with the weights of the first step
    for weights in history[1:]:
        expected = 0.9 * expected + 0.1 * weights
    with averaged_weights(model, optimizer):
        np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-6)
    np.testing.assert_array_equal(model.get_weights()[0], history[-1])
