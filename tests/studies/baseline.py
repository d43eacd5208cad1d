"""A plain U-Net in Keras, trained on the same records and judged by the same code, to compare TinyUNet with.

It is what a Keras tutorial leads to: the images are resized to squares of 256 pixels, and whole images are
trained with binary cross-entropy, Adam and flips. Nothing of it is tuned to a data set.

    python -m tests.studies.baseline records --seconds 160 --seed 0 --out folder
"""

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tests.studies.judging import evaluate_whole
from tinyunet.core.config import TrainConfig
from tinyunet.core.console import say
from tinyunet.core.documents.evaluation import EvaluatedModel, Evaluation
from tinyunet.core.documents.model import ModelData, Normalization, TrainingFigures
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.dataset import Split, load_split
from tinyunet.data.records.stored import ImageSequence
from tinyunet.evaluation.inference import Predictor
from tinyunet.evaluation.summary import headline, line_words
from tinyunet.model.precision import cpu_has_bfloat16
from tinyunet.model.tiles import Logits

SIDE, FILTERS, BATCH, LEARNING_RATE = 256, 16, 16, 1e-3
PROGRESS_S = 10.0
NOTE = (
    "The model is a plain U-Net with {filters} filters, trained on whole images of {side}×{side} pixels with "
    "binary cross-entropy, Adam and flips; its logits were resized to the size of each image. "
    "`model.train` has only the options that this training shares with TinyUNet's, and "
    "`model.training.validation_dice` is at the chosen threshold."
)


def build_unet(side: int, channels: int, filters: int, dtype: str) -> keras.Model:
    """Return a U-Net (Ronneberger et al., 2015) with batch normalization, which gives float32 logits."""
    layers = keras.layers

    def convolve_twice(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, dtype=dtype)(x)
            x = layers.BatchNormalization(momentum=0.9, dtype=dtype)(x)
            x = layers.Activation("relu", dtype=dtype)(x)
        return x

    inputs = x = keras.Input((side, side, channels))
    skipped = []
    for level in range(4):
        skipped.append(convolve_twice(x, filters << level))
        x = layers.MaxPooling2D(dtype=dtype)(skipped[-1])
    x = convolve_twice(x, filters << 4)
    for level in reversed(range(4)):
        x = layers.Conv2DTranspose(filters << level, 2, strides=2, dtype=dtype)(x)
        x = convolve_twice(layers.Concatenate(dtype=dtype)([skipped[level], x]), filters << level)
    return keras.Model(inputs, layers.Conv2D(1, 1, dtype="float32")(x))


def resize(image: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Return an image [H, W] or [H, W, C] as a square, float32 [side, side, C]."""
    pixels = image if image.ndim == 3 else image[..., None]
    resized: NDArray[np.float32] = tf.image.resize(pixels, (side, side), antialias=True).numpy()
    return resized


def load_training_images(split: Split, side: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return images, [N, side, side, C] of the stored type, and labels, uint8 [N, side, side, 1]."""
    images = np.stack([resize(image, side).round().astype(split.images.dtype) for image in split.images])
    labels = np.stack([(resize(mask, side) >= 127.5).astype(np.uint8) for mask in split.masks])
    return images, labels


def make_batches(images: NDArray[Any], labels: NDArray[np.uint8], scale: float, seed: int) -> tf.data.Dataset:
    """Return endless batches in random order with random flips: images from 0 to 1, and labels, float32."""

    def flip(image: Any, label: Any) -> tuple[Any, Any]:
        both = tf.concat([tf.cast(image, tf.float32) * scale, tf.cast(label, tf.float32)], axis=-1)
        both = tf.image.random_flip_up_down(tf.image.random_flip_left_right(both, seed), seed)
        return both[..., :-1], both[..., -1:]

    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    dataset = dataset.shuffle(len(images), seed=seed).repeat().batch(BATCH)
    return dataset.map(flip).prefetch(2)


class Deadline(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
    """Ends a training after some seconds, counted from its start with the compilation, or some steps."""

    def __init__(self, seconds: float, steps: int) -> None:
        super().__init__()
        self.seconds, self.steps = seconds, steps
        self.elapsed, self.done, self.loss = 0.0, 0, 0.0
        self._start = self._last_line = time.monotonic()

    def on_train_begin(self, logs: Any = None) -> None:
        self._start = self._last_line = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.monotonic()
        self.elapsed, self.done, self.loss = now - self._start, batch + 1, float(logs["loss"])
        if now - self._last_line >= PROGRESS_S:
            self._last_line = now
            rate = BATCH * self.done / self.elapsed
            left = self.seconds - self.elapsed
            say(f"step {self.done}, mean loss {self.loss:.4f}, {rate:.1f} img/s, {left:.0f} s left")
        self.model.stop_training = self.elapsed >= self.seconds or self.done == self.steps


class ResizingPredictor(Predictor):
    """Predicts images as squares, and resizes the logits to the size of each image."""

    def __init__(self, model: keras.Model, side: int, scale: float) -> None:
        self._network = tf.function(lambda x: model(x, training=False))
        self._side, self._scale = side, scale

    def each(self, images: ImageSequence) -> Iterator[Iterable[Logits]]:
        """Yield the logits of every image, one band of float32 [H, W]."""
        for image in images:
            logits = self._network(resize(image, self._side)[None] * np.float32(self._scale))
            yield [tf.image.resize(logits, image.shape[:2]).numpy()[0, ..., 0]]


def train(
    records: Path, *, seconds: float, steps: int, seed: int, side: int, filters: int, dtype: str
) -> tuple[keras.Model, Deadline]:
    """Train a U-Net on the split `train` of some records, until the time or the number of steps is over."""
    keras.utils.set_random_seed(seed)
    manifest, split = RecordsManifest.read(records), load_split(records, "train", 0)
    images, labels = load_training_images(split, side)
    model = build_unet(side, manifest.channels, filters, dtype)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)  # the sigmoid is a part of the loss
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), loss=loss)
    deadline = Deadline(seconds, steps)
    batches = make_batches(images, labels, scale_of(manifest), seed)
    model.fit(batches, steps_per_epoch=steps or 10**9, verbose=0, shuffle=False, callbacks=[deadline])
    return model, deadline


def scale_of(manifest: RecordsManifest) -> float:
    """Return the factor that makes numbers from 0 to 1 of the levels of the images."""
    return 1 / ((1 << manifest.bits) - 1)


def describe(
    manifest: RecordsManifest, *, train: TrainConfig, parameters: int, run: Deadline
) -> EvaluatedModel:
    """Return the description of the model in the form of model.json; its validation Dice is not known."""
    data = {
        key: getattr(manifest, key) for key in ("digest", "source", "source_digest", "complete", "synthetic")
    }
    return EvaluatedModel(
        preset="plain U-Net",
        image_size=0,  # masks are compared at the size of the images
        channels=manifest.channels,
        bits=manifest.bits,
        dataset=manifest.dataset,
        category=manifest.category,
        parameters=parameters,
        precision=train.precision,
        world_size=1,
        steps=run.done,
        seed=train.seed,
        train=train,
        identity={},
        normalization=Normalization(scale=scale_of(manifest), offset=0.0),
        data=ModelData(**data),
        training=TrainingFigures(
            images_per_s=BATCH * run.done / run.elapsed,
            seconds=run.elapsed,
            final_loss=run.loss,
            validation_dice=0.0,
        ),
    )


def run_baseline(
    records: Path,
    out: Path,
    *,
    seconds: float,
    steps: int = 0,
    seed: int = 0,
    side: int = SIDE,
    filters: int = FILTERS,
) -> Evaluation:
    """Train and evaluate a plain U-Net, and write metrics.json, whose keys are those of `tinyunet evaluate`.

    Args:
        records: Folder that `tinyunet convert` wrote.
        out: Folder to write.
        seconds: Time of the training, with the compilation, without the loading of the images.
        steps: Largest number of steps; 0 for no limit.
        seed: Of the weights, the order of the images and the flips.
        side: Side in pixels to which all images are resized, a multiple of 16.
        filters: Filters of the first level.
    """
    dtype = "mixed_bfloat16" if cpu_has_bfloat16() else "float32"
    model, run = train(
        records, seconds=seconds, steps=steps, seed=seed, side=side, filters=filters, dtype=dtype
    )
    options = {"image_size": side, "steps": run.done, "seed": seed, "precision": dtype}
    shared = TrainConfig(global_batch=BATCH, learning_rate=LEARNING_RATE).replace(options)
    manifest = RecordsManifest.read(records)
    predictor = ResizingPredictor(model, side, scale_of(manifest))
    document = describe(manifest, train=shared, parameters=model.count_params(), run=run)
    result = evaluate_whole(predictor, document, records)
    note = NOTE.format(filters=filters, side=side)
    figures = result.model.training.model_copy(
        update={"validation_dice": result.validation.dice_defective or 0.0}
    )
    described = result.model.model_copy(update={"training": figures})
    result = result.model_copy(update={"notes": (*result.notes, note), "model": described})
    out.mkdir(parents=True, exist_ok=True)
    result.write(out)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    for name, default in {"steps": 0, "seed": 0, "side": SIDE, "filters": FILTERS}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = vars(parser.parse_args())
    result = run_baseline(**arguments)
    training = f"{result.model.steps} steps in {result.model.training.seconds:.0f} s"
    line = line_words(result.factory) if result.factory else ""
    print(f"plain U-Net, {training}: {headline(result)}; AUPRO {result.test.aupro or 0:.3f}. {line}")


if __name__ == "__main__":
    main()
