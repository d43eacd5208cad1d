"""Micro-batches: the step of the whole batch, whichever way the loss mixes its images."""

import numpy as np
import pytest

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST, NVIDIA, THOROUGH
from tinyunet.data.augment import warps
from tinyunet.data.dataset import Batch
from tinyunet.launch.launch import check_shares
from tinyunet.model.unet import build_unet
from tinyunet.training.distributed import World
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep

SIZE, IMAGES = 32, 8


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Eight images; the defects are in the first and the sixth, so that micro-batches differ."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIZE, SIZE), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[0, 8:20, 8:20] = masks[5, :6, 20:] = 255
    gain, bias = (x.astype(np.float32) for x in (rng.uniform(0.9, 1.1, IMAGES), rng.uniform(-5, 5, IMAGES)))
    turned = warps(rng.uniform(-1, 1, IMAGES), rng.uniform(0.9, 1.1, IMAGES), SIZE)
    return Batch(images, masks, gain, bias, turned, tuple("abcdefgh"))


def losses(config: TrainConfig, batch: Batch) -> list[tuple[float, float]]:
    """Loss and gradient norm of three steps."""
    model = build_unet(SIZE, seed=1, precision="float32")
    step = TrainStep(model, build_optimizer(config, "float32"), config, World())
    results = [step(batch) for _ in range(3)]
    return [(float(result.loss), float(result.gradient_norm)) for result in results]


@pytest.mark.parametrize("preset", [FAST, THOROUGH, NVIDIA], ids=["fast", "thorough", "nvidia"])
def test_micro_batches_take_the_step_of_the_whole_batch(preset: TrainConfig, batch: Batch) -> None:
    config = preset.replace({"image_size": SIZE, "global_batch": IMAGES, "steps": 100})
    whole = losses(config, batch)
    parts = losses(config.replace({"accumulate": 4}), batch)
    assert len(set(whole)) == 3, "the steps change the loss"
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-5)
    np.testing.assert_allclose(parts, whole, rtol=1e-4)


def test_a_deterministic_step_takes_image_by_image_the_step_of_the_whole_batch(batch: Batch) -> None:
    config = THOROUGH.replace({"image_size": SIZE, "global_batch": IMAGES, "steps": 100})
    exact = losses(config.replace({"deterministic": True}), batch)
    np.testing.assert_allclose(exact, losses(config, batch), rtol=1e-4)
    assert exact == losses(config.replace({"deterministic": True, "accumulate": IMAGES}), batch), (
        "one at a time"
    )


def test_the_step_sends_its_gradients_as_configured(batch: Batch) -> None:
    sent = []

    class Recording(World):
        def sum_all(self, tensors: list[object], *, compression: str = "none") -> list[object]:
            sent.append((len(tensors), compression))
            return list(tensors)

    config = FAST.replace({"image_size": SIZE, "global_batch": IMAGES, "compression": "fp16"})
    model = build_unet(SIZE, seed=1, precision="float32")
    TrainStep(model, build_optimizer(config, "float32"), config, Recording())(batch)
    assert set(sent) == {(len(model.trainable_variables), "fp16")}


@pytest.mark.parametrize(
    ("accumulate", "ranks", "said"),
    [(4, 8, "accumulate is 4; expected a divisor of a rank's 2 images"), (1, 3, "ranks is 3; expected")],
)
def test_shares_that_are_not_equal_are_refused(accumulate: int, ranks: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_shares(FAST.replace({"accumulate": accumulate}), ranks)


def test_micro_batches_of_a_fraction_of_an_image_are_refused() -> None:
    with pytest.raises(UserError, match="accumulate is 3; expected a divisor of the global batch 16"):
        FAST.replace({"accumulate": 3})
