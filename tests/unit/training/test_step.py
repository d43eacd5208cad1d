"""The training step for every division of the batch, and the scores of the validation split."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import without_graphs
from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST, NVIDIA, THOROUGH
from tinyunet.data.augment import warps
from tinyunet.data.dataset import Batch, Split
from tinyunet.model.unet import build_unet
from tinyunet.training.distributed import World
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep
from tinyunet.training.validation import validate

SIZE, IMAGES = 32, 8


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Eight images; the first and the sixth are defective, so the micro-batches differ."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIZE, SIZE), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[0, 8:20, 8:20] = masks[5, :6, 20:] = 255
    gain, bias = (x.astype(np.float32) for x in (rng.uniform(0.9, 1.1, IMAGES), rng.uniform(-5, 5, IMAGES)))
    transforms = warps(rng.uniform(-1, 1, IMAGES), rng.uniform(0.9, 1.1, IMAGES), SIZE)
    return Batch(images, masks, gain, bias, transforms, tuple("abcdefgh"))


def small_network() -> keras.Model:
    """Return a network with the kinds of layers of the U-Net; its step is traced several times faster."""
    keras.utils.set_random_seed(1)
    grey = keras.Input((SIZE, SIZE, 1))
    top = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(keras.layers.Rescaling(1 / 64)(grey))
    low = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(keras.layers.MaxPooling2D()(top))
    up = keras.layers.Conv2DTranspose(4, 2, strides=2)(low)
    return keras.Model(grey, keras.layers.Conv2D(1, 1)(keras.layers.Concatenate()([top, up])))


def losses(config: TrainConfig, batch: Batch, model: keras.Model) -> list[tuple[float, float]]:
    """Return loss and gradient norm of three steps."""
    step = TrainStep(model, build_optimizer(config, "float32"), config, World())
    results = [step(batch) for _ in range(3)]
    return [(float(result.loss), float(result.gradient_norm)) for result in results]


@pytest.mark.parametrize("changes", [{"image_size": SIZE}, {"patch": SIZE}], ids=["image_size", "patch"])
@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 8), (1, 16), (3, 16)])
def test_a_traced_step_is_not_traced_again_by_its_first_call(
    channels: int, bits: int, changes: dict[str, int], records: Path, batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def add(_: TrainStep, *inputs: tf.Tensor) -> tf.Tensor:
        return tf.add_n([tf.reduce_sum(tf.cast(each, tf.float32)) for each in inputs])

    monkeypatch.setattr(TrainStep, "_step", add)
    config = FAST.replace({"global_batch": IMAGES, **changes})
    step = TrainStep(small_network(), build_optimizer(config, "float32"), config, World())
    manifest = RecordsManifest.read(records).model_copy(update={"channels": channels, "bits": bits})
    step.trace(manifest)
    images = np.stack([batch.images] * 3, -1) if channels == 3 else batch.images
    step(replace(batch, images=images.astype("<u2" if bits == 16 else np.uint8)))
    assert step._run.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("preset", [FAST, THOROUGH, NVIDIA], ids=["fast", "thorough", "nvidia"])
def test_micro_batches_take_the_step_of_the_undivided_batch(preset: TrainConfig, batch: Batch) -> None:
    config = preset.replace({"image_size": SIZE, "global_batch": IMAGES, "steps": 100})
    undivided = losses(config, batch, small_network())
    divided = losses(config.replace({"accumulate": 4}), batch, small_network())
    assert len(set(undivided)) == 3, "the steps change the loss"
    np.testing.assert_allclose(divided[0], undivided[0], rtol=1e-5)
    np.testing.assert_allclose(divided, undivided, rtol=1e-4)


def test_a_deterministic_step_equals_the_undivided_step_and_does_not_depend_on_accumulate(
    batch: Batch,
) -> None:
    config = THOROUGH.replace({"image_size": SIZE, "global_batch": IMAGES, "steps": 100})
    exact = losses(config.replace({"deterministic": True}), batch, small_network())
    with without_graphs():
        undivided = losses(config, batch, small_network())
    np.testing.assert_allclose(exact, undivided, rtol=1e-4)
    one_by_one = losses(config.replace({"deterministic": True, "accumulate": IMAGES}), batch, small_network())
    assert exact == one_by_one


def test_gradients_are_compressed_as_configured(batch: Batch) -> None:
    calls = []

    class Recording(World):
        def sum_all(self, tensors: list[object], *, compression: str = "none") -> list[object]:
            calls.append((len(tensors), compression))
            return list(tensors)

    config = FAST.replace({"image_size": SIZE, "global_batch": IMAGES, "compression": "fp16"})
    model = small_network()
    TrainStep(model, build_optimizer(config, "float32"), config, Recording())(batch)
    assert set(calls) == {(len(model.trainable_variables), "fp16")}


def test_a_step_counts_the_ranks_that_were_asked_to_stop(batch: Batch) -> None:
    config = FAST.replace({"image_size": SIZE, "global_batch": IMAGES})
    step = TrainStep(small_network(), build_optimizer(config, "float32"), config, World())
    assert [float(step(batch, stop=stop).stopping) for stop in (False, True)] == [0, 1]


# Four images of 2×2 pixels. All pixels of an image have the same logit. The first two images are defective in
# their upper row.
LOGITS = {0: 4.0, 1: -1.0, 2: 2.0, 3: -3.0}
MASKS = np.array([[[255, 255], [0, 0]]] * 2 + [[[0, 0], [0, 0]]] * 2, np.uint8)
GREY = np.stack([np.full((2, 2), index, np.uint8) for index in LOGITS])
SPLIT = Split("validation", GREY, MASKS, np.array([True, True, False, False]), ("a", "b", "c", "d"))


def forward(images: tf.Tensor) -> tf.Tensor:
    table = tf.constant(list(LOGITS.values()))
    return tf.gather(table, tf.cast(images, tf.int32))[..., None]


@dataclass(frozen=True)
class Half(World):
    """One of two ranks; `other` is the contribution of the other rank."""

    other: Any = None

    def sum(self, tensor: tf.Tensor) -> tf.Tensor:
        return tensor + self.other


def test_dice_is_the_mean_of_defective_images_and_ap_ranks_all_images_by_their_largest_logit() -> None:
    scores = validate(forward, SPLIT, World())
    # Image 0: all four pixels are predicted, two are defective: 2·2 / (4 + 2). Image 1: none is predicted.
    assert scores.dice == pytest.approx((2 / 3 + 0) / 2)
    # By logit: defective 4, clean 2, defective -1, clean -3: precision 1 and 2/3 where recall increases.
    assert scores.ap == pytest.approx((1 + 2 / 3) / 2)


def test_the_loss_is_the_pooled_soft_dice_loss_and_the_mean_cross_entropy() -> None:
    p = 1 / (1 + np.exp(-np.repeat(list(LOGITS.values()), 4)))
    t = MASKS.ravel() / 255
    dice_loss = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    bce = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert validate(forward, SPLIT, World()).loss == pytest.approx(dice_loss + bce, rel=1e-5)


@pytest.mark.parametrize(("logit", "dice"), [(1e-6, 2 * 2 / (4 + 2)), (0.0, 0.0)])
def test_a_half_covered_pixel_is_defective_and_a_probability_of_one_half_is_not(
    logit: float, dice: float
) -> None:
    masks = np.array([[[128, 255], [127, 0]], [[0, 0], [0, 0]]], np.uint8)
    split = Split("validation", GREY[:2], masks, np.array([True, False]), ("a", "b"))
    scores = validate(lambda images: forward(images) * 0.0 + logit, split, World())
    assert scores.dice == pytest.approx(dice)


def test_two_ranks_return_the_scores_of_one_rank() -> None:
    one = validate(forward, SPLIT, World(), batch_size=1)
    contributions: list[Any] = []

    @dataclass(frozen=True)
    class Recording(World):
        def sum(self, tensor: tf.Tensor) -> tf.Tensor:
            contributions.append(tensor)
            return tensor

    validate(forward, SPLIT, Recording(1, 2))
    both = validate(forward, SPLIT, Half(0, 2, other=contributions[0]))
    assert tuple(both) == pytest.approx(tuple(one))


def test_weights_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(UserError, match=r"not finite.*lower learning_rate"):
        validate(lambda images: forward(images) * np.nan, SPLIT, World())


def make_step(
    config: TrainConfig, precision: str
) -> tuple[keras.Model, keras.optimizers.Optimizer, TrainStep]:
    """Return a model, its optimizer and its step."""
    model = build_unet(config.image_size, seed=1, precision=precision)
    optimizer = build_optimizer(config, precision)
    return model, optimizer, TrainStep(model, optimizer, config, World())


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("preset", [FAST, NVIDIA], ids=["fast", "nvidia"])
def test_a_step_in_mixed_precision_has_the_losses_and_the_gradient_norm_of_a_float32_step(
    preset: TrainConfig, four_images: Batch
) -> None:
    config = preset.replace({"image_size": 32, "global_batch": 4, "steps": 100})
    precisions = ("float32", "mixed_float16", "mixed_bfloat16")
    float32, *others = (make_step(config, precision)[2](four_images) for precision in precisions)
    for mixed, precision in zip(others, precisions[1:], strict=True):
        for name in ("loss", "bce", "dice_loss", "l2"):
            expected = pytest.approx(float(getattr(float32, name)), rel=0.02)
            assert float(getattr(mixed, name)) == expected, (precision, name)
        assert float(mixed.gradient_norm) == pytest.approx(float(float32.gradient_norm), rel=0.1), "unscaled"


def test_float16_steps_change_all_weights_which_stay_float32(four_images: Batch) -> None:
    config = FAST.replace({"image_size": 32, "global_batch": 4, "steps": 100})
    model, optimizer, step = make_step(config, "mixed_float16")
    before = model.get_weights()
    losses = [float(step(four_images).loss) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert int(optimizer.iterations.numpy()) == 8
    assert float(optimizer.dynamic_scale.numpy()) == 2.0**15
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(changed), f"{changed.count(False)} weights did not change"
    assert {w.dtype for w in model.get_weights()} == {np.dtype(np.float32)}


@pytest.mark.usefixtures("eager")
def test_an_overflowing_gradient_skips_the_step_and_halves_the_scale(four_images: Batch) -> None:
    config = FAST.replace({"image_size": 32, "global_batch": 4, "steps": 100})
    model, optimizer, step = make_step(config, "mixed_float16")
    optimizer.dynamic_scale.assign(2.0**40)  # the largest float16 is 65,504
    before = model.get_weights()
    result = step(four_images)
    assert np.isfinite(float(result.loss)), "the loss itself is not scaled"
    assert not np.isfinite(float(result.gradient_norm))
    assert float(optimizer.dynamic_scale.numpy()) == 2.0**39
    assert int(optimizer.iterations.numpy()) == 0, "the learning rate schedule does not count the step"
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
