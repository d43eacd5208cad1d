"""What `tinyunet bench` measures in its own process: training, prediction, their bounds, the input.

Every call ends with a value that was read from the device, so that nothing is still running when the
clock is read. What is compared works on the same model, image size and batch.
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

SIZES = (1, 16)  # images per forward pass
GEMM_SIDE = {"CPU": 2048, "GPU": 8192}  # of square matrices: 17 GFLOP and 1.1 TFLOP per product
AHEAD = 4  # batches taken before the input is timed: more than wait ready in its queue


def precisions() -> tuple[str, ...]:
    """Give float32 and then what `auto` takes here, where that is another: emulated ones would take hours."""
    return tuple(dict.fromkeys(("float32", resolve_precision("auto"))))


def multiply_adds(model: keras.Model) -> int:
    """Count the multiply-adds of all convolutions for one image; padding counts as if it were pixels."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    return int(sum(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]) for layer in layers))


def random_split(size: int, count: int = 32) -> Split:
    """Make `count` random images, every second one with a square defect."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[::2, size // 4 : size // 2, size // 4 : size // 2] = 255
    names = tuple(f"{i:04d}" for i in range(count))
    return Split("train", images, masks, np.arange(count) % 2 == 0, names)


def train_cases(config: BenchConfig) -> dict[str, Case]:
    """Images/s of the training step as it is, per precision, and of plain Keras on the same batch.

    `plain Keras` is what a user writes without this library: `compile` with Adam and binary cross-entropy
    from logits, then `train_on_batch`, in the fastest precision, of Keras' own layers. It neither clips nor
    averages.
    `step_ms` is the time of each single step, for percentiles.
    """
    recipe, fast = config.recipe(), precisions()[-1]
    cases = {f"train {precision}": train_case(recipe, precision) for precision in precisions()}
    return cases | {f"plain Keras {fast}": _plain_case(recipe, fast)}


def train_case(recipe: TrainConfig, precision: str) -> Case:
    """Steps of this library on one batch."""
    batch = _batch(recipe)
    model = build_unet(recipe.image_size, precision=precision)
    step = TrainStep(model, build_optimizer(recipe, precision), recipe, World())
    return _training(f"train {precision}", lambda: float(step(batch).loss), recipe.global_batch)


def predict_cases(config: BenchConfig) -> dict[str, Case]:
    """Images/s of the forward pass, and the bound that matrix products of this machine set to it.

    `GEMM ceiling` measures the rate of one large matrix product and divides it by the model's operations
    per image (two per multiply-add, as published): what the published layers would reach if they were
    nothing but that. `model.layers` need 3 % fewer operations, and a convolution may run a little faster
    than one large product: the forward pass can reach more.
    """
    cases: dict[str, Case] = {}
    operations = 2 * multiply_adds(build_unet(config.image_size, plain=True))
    for precision in precisions():
        model = build_unet(config.image_size, precision=precision)
        cases |= {f"predict {precision} batch {n}": predict_case(model, precision, n) for n in SIZES}
        cases[f"GEMM ceiling {precision}"] = _gemm_case(precision, operations)
    return cases


def predict_case(model: keras.Model, precision: str, size: int) -> Case:
    """Forward passes on one batch, from grey levels on the host to logits on the host."""
    forward = forward_function(model)
    images = tf.constant(random_split(model.input_shape[1], size).images)
    return _rated(
        Key("predict", f"predict {precision} batch {size}", "images_per_s"),
        lambda: forward(images).numpy(),
        size,
    )


def input_cases(config: BenchConfig) -> dict[str, Case]:
    """Images/s of drawing and augmenting batches, with nothing else to do.

    Per second of wall time, as one training would get them, and per second of CPU time of this process
    (`time.process_time`), which is the rate of one core.
    """
    recipe, data = config.recipe(), random_split(config.image_size)

    def measure(seconds: float) -> Values:
        source: Any = batches(data, recipe, start=0, rank=0, world_size=1)
        with closing(source):
            for _ in range(AHEAD):
                next(source)
            cpu = time.process_time()
            taken = repeat(lambda: next(source), seconds)
            cpu = time.process_time() - cpu
        images = len(taken) * recipe.global_batch
        return {
            Key("input", "input", "images_per_s"): [images / sum(taken)],
            Key("input", "input", "images_per_core_s"): [images / max(cpu, 1e-9)],
        }

    return {"input": measure}


def _plain_case(recipe: TrainConfig, precision: str) -> Case:
    batch = _batch(recipe)
    images = batch.images[..., None].astype(np.float32)
    targets = batch.masks[..., None].astype(np.float32) / 255.0
    model = build_unet(recipe.image_size, precision=precision, plain=True)
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return _training(
        f"plain Keras {precision}",
        lambda: float(model.train_on_batch(images, targets)),
        recipe.global_batch,
    )


def _gemm_case(precision: str, operations: int) -> Case:
    side = GEMM_SIDE["GPU" if _on_gpu() else "CPU"]
    dtype = keras.DTypePolicy(precision).compute_dtype
    left, right = (tf.cast(tf.random.stateless_uniform((side, side), (0, i)), dtype) for i in (0, 1))
    product, case = tf.function(tf.matmul), f"GEMM ceiling {precision}"
    product(left, right)  # traced: not measured

    def measure(seconds: float) -> Values:
        taken = repeat(lambda: product(left, right)[0, 0].numpy(), seconds)
        rate = 2 * side**3 * len(taken) / sum(taken)
        return {
            Key("predict", case, "images_per_s"): [rate / operations],
            Key("predict", case, "gflop_per_s"): [rate / 1e9],
        }

    return measure


def _training(case: str, call: Callable[[], object], images: int) -> Case:
    """Measure steps: their rate, and the milliseconds of each."""
    call()  # traced: not measured

    def measure(seconds: float) -> Values:
        taken = repeat(call, seconds)
        return {
            Key("train", case, "images_per_s"): [images * len(taken) / sum(taken)],
            Key("train", case, "step_ms"): [1000 * t for t in taken],
        }

    return measure


def _rated(key: Key, call: Callable[[], object], amount: float) -> Case:
    """Measure how much is done per second, where a call does `amount`."""
    call()  # traced: not measured

    def measure(seconds: float) -> Values:
        taken = repeat(call, seconds)
        return {key: [amount * len(taken) / sum(taken)]}

    return measure


def _batch(recipe: TrainConfig) -> Batch:
    count = recipe.global_batch
    data, ones = random_split(recipe.image_size, count), np.ones(count, np.float32)
    turned = warps(np.full(count, 0.5), np.ones(count), recipe.image_size)
    return Batch(data.images, data.masks, ones, 0 * ones, turned, data.names)


def _on_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
