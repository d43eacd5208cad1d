"""Measure training, prediction and input in the process of `tinyunet bench`, and a bound for prediction.

Every measured call reads a value from the device at its end, so the computation is complete when the clock is
read. Measurements that are compared use the same model, image size and batch.
"""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tinyunet.bench.config import BenchConfig
from tinyunet.bench.measure import Case, Key, Values, repeat
from tinyunet.core.config import TrainConfig
from tinyunet.data.augment import warps
from tinyunet.data.dataset import Batch, Split, batches
from tinyunet.model.precision import resolve_precision
from tinyunet.model.unet import build_unet, forward_function
from tinyunet.training.distributed import World
from tinyunet.training.optimizer import build_optimizer
from tinyunet.training.step import TrainStep

BATCH_SIZES = (1, 8, 16)  # images per forward pass
GEMM_SIDE = {"CPU": 2048, "GPU": 8192}  # rows and columns of a matrix: 17 GFLOP and 1.1 TFLOP per product
WARMUP_BATCHES = 4  # batches before the measurement of the input; the queue of batches is shorter


def precisions() -> tuple[str, ...]:
    """Return float32 and, if it is different, the precision that `auto` selects on this machine.

    Other precisions are not measured, because the machine would emulate them, which takes hours.
    """
    return tuple(dict.fromkeys(("float32", resolve_precision("auto"))))


def multiply_adds(model: keras.Model) -> int:
    """Return the number of multiply-adds of all convolutions for one image, including those of padding."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    return int(sum(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]) for layer in layers))


def random_split(size: int, count: int = 32) -> Split:
    """Return `count` random images of size × size pixels; every second image has a square defect."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[::2, size // 4 : size // 2, size // 4 : size // 2] = 255
    names = tuple(f"{i:04d}" for i in range(count))
    return Split("train", images, masks, np.arange(count) % 2 == 0, names)


def train_cases(config: BenchConfig) -> dict[str, Case]:
    """Return the measurements of training steps in images/s, for each precision and for plain Keras.

    `plain Keras` is a training without this library, as a user would write it: the layers of Keras, `compile`
    with Adam and binary cross-entropy from logits, then `train_on_batch`, in the fastest precision. It
    neither clips gradients nor averages weights. All cases use the same batch.
    `step_ms` contains the time of every step, from which percentiles are computed.
    """
    recipe, fastest = config.recipe(), precisions()[-1]
    cases = {f"train {precision}": train_case(recipe, precision) for precision in precisions()}
    return cases | {f"plain Keras {fastest}": _plain_case(recipe, fastest)}


def train_case(recipe: TrainConfig, precision: str) -> Case:
    """Return the measurement of this library's training step on one batch."""
    batch = step_batch(recipe)
    model = build_unet(recipe.image_size, precision=precision)
    step = TrainStep(model, build_optimizer(recipe, precision), recipe, World())
    return _step_case(f"train {precision}", lambda: float(step(batch).loss), recipe.global_batch)


def predict_cases(config: BenchConfig) -> dict[str, Case]:
    """Return the measurements of the forward pass in images/s, and of an estimated bound on this machine.

    The bound is called `GEMM ceiling`: the operations per second of one large matrix product, divided by the
    operations of the published model per image (two per multiply-add). A forward pass of the published layers
    would reach it if it consisted only of such products. The forward pass of this library can be faster:
    the layers of `model.layers` need 3 % fewer operations, and a convolution may be slightly faster than one
    large product.
    """
    cases: dict[str, Case] = {}
    operations = 2 * multiply_adds(build_unet(config.image_size, plain=True))
    for precision in precisions():
        model = build_unet(config.image_size, precision=precision)
        cases |= {f"predict {precision} batch {n}": predict_case(model, precision, n) for n in BATCH_SIZES}
        cases[f"GEMM ceiling {precision}"] = _gemm_case(precision, operations)
    return cases


def predict_case(model: keras.Model, precision: str, batch_size: int) -> Case:
    """Return the measurement of forward passes on one batch, from grey levels to logits on the host."""
    forward = forward_function(model)
    images = tf.constant(random_split(model.input_shape[1], batch_size).images)
    key = Key("predict", f"predict {precision} batch {batch_size}", "images_per_s")
    forward(images).numpy()  # the first call traces the function

    def measure(seconds: float) -> Values:
        durations = repeat(lambda: forward(images).numpy(), seconds)
        return {key: [batch_size * len(durations) / sum(durations)]}

    return measure


def input_cases(config: BenchConfig) -> dict[str, Case]:
    """Return the measurement of the input: batches are drawn and augmented without a training.

    `images_per_s` is the number of images per second of wall time, the rate at which a training would receive
    them. `images_per_core_s` is the number of images per second of CPU time of this process
    (`time.process_time`), the rate of one core.
    """
    recipe, data = config.recipe(), random_split(config.image_size)

    def measure(seconds: float) -> Values:
        source: Any = batches(data, recipe, start=0, rank=0, world_size=1)
        with closing(source):
            for _ in range(WARMUP_BATCHES):
                next(source)
            cpu_start = time.process_time()
            durations = repeat(lambda: next(source), seconds)
            cpu_seconds = time.process_time() - cpu_start
        images = len(durations) * recipe.global_batch
        return {
            Key("input", "input", "images_per_s"): [images / sum(durations)],
            Key("input", "input", "images_per_core_s"): [images / max(cpu_seconds, 1e-9)],
        }

    return {"input": measure}


def _plain_case(recipe: TrainConfig, precision: str) -> Case:
    batch = step_batch(recipe)
    images = batch.images[..., None].astype(np.float32)
    targets = batch.masks[..., None].astype(np.float32) / 255.0
    model = build_unet(recipe.image_size, precision=precision, plain=True)
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return _step_case(
        f"plain Keras {precision}",
        lambda: float(model.train_on_batch(images, targets)),
        recipe.global_batch,
    )


def _gemm_case(precision: str, operations: int) -> Case:
    side = GEMM_SIDE["GPU" if _on_gpu() else "CPU"]
    dtype = keras.DTypePolicy(precision).compute_dtype
    left, right = (tf.cast(tf.random.stateless_uniform((side, side), (0, i)), dtype) for i in (0, 1))
    product, case = tf.function(tf.matmul), f"GEMM ceiling {precision}"
    product(left, right)  # the first call traces the function

    def measure(seconds: float) -> Values:
        durations = repeat(lambda: product(left, right)[0, 0].numpy(), seconds)
        rate = 2 * side**3 * len(durations) / sum(durations)
        return {
            Key("predict", case, "images_per_s"): [rate / operations],
            Key("predict", case, "gflop_per_s"): [rate / 1e9],
        }

    return measure


def _step_case(case: str, step: Callable[[], object], batch_size: int) -> Case:
    """Return the measurement of training steps: their rate, and the milliseconds of each."""
    step()  # the first call traces the function

    def measure(seconds: float) -> Values:
        durations = repeat(step, seconds)
        return {
            Key("train", case, "images_per_s"): [batch_size * len(durations) / sum(durations)],
            Key("train", case, "step_ms"): [1000 * duration for duration in durations],
        }

    return measure


def step_batch(recipe: TrainConfig) -> Batch:
    """Return one global batch of random images for a training step."""
    count = recipe.global_batch
    data, ones = random_split(recipe.image_size, count), np.ones(count, np.float32)
    rotations = warps(np.full(count, 0.5), np.ones(count), recipe.image_size)
    return Batch(np.asarray(data.images), np.asarray(data.masks), ones, 0 * ones, rotations, data.names)


def _on_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
