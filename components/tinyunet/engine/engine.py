"""Inspection of images by a served model: masks, scores and verdicts, without TensorFlow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.core.files import keep_in_use
from tinyunet.data.resize import area_average, input_shape
from tinyunet.engine import network
from tinyunet.engine.example import texture
from tinyunet.engine.resize import interpolate
from tinyunet.model.metrics import sigmoid
from tinyunet.model.poses import average_logits
from tinyunet.model.regions import exceeds
from tinyunet.model.tiles import Logits, RunningScore, predict_images

BATCH_SIZE = 16  # largest number of images of a forward pass; `tiles.BATCH_PIXELS` limits their pixels
# Largest deviations from the answer of the Keras model to the example; in int8, from the registered one.
SCORE_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05, network.INT8: 0.05}  # as a fraction of 1 + |score|
MEAN_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.02, network.INT8: 0.02}


@dataclass(frozen=True, eq=False)
class Inspection:
    """The answer to one image.

    Attributes:
        mask: bool [H, W], the defective pixels.
        score: Image-level score, a logit.
        defective: Whether the image is classified as defective.
        probability: float32 [H, W], of a defect in each pixel; None unless it was asked for.
    """

    mask: NDArray[np.bool_]
    score: float
    defective: bool
    probability: NDArray[np.float32] | None = None


class Engine:
    """A served model; it may be used from several threads."""

    def __init__(self, folder: Path, *, precision: str = "auto") -> None:
        """Load the model of an engine folder.

        Args:
            folder: The engine folder.
            precision: `float32`, `bfloat16`, `int8`, or `auto` for the fastest one, see `network.resolve`.

        Raises:
            UserError: if the folder is not that of an engine, it has no network of this precision, or the
                network cannot be compiled.
        """
        self.folder = folder
        keep_in_use(folder, self)
        self.document = ServedModel.read(folder)
        self.precision = network.resolve(precision, folder)
        self._files = network.network_files(folder, self.precision)
        self._network = network.Network(self._files[0], self.precision)

    def inspect(
        self,
        images: Sequence[NDArray[Any]],
        *,
        probability: bool = False,
        on_tile: Callable[[], None] = lambda: None,
    ) -> list[Inspection]:
        """Inspect images of any sizes.

        Consecutive images of one size go through the network as one batch; large ones by tiles, so that the
        memory is that of one tile, of the answers and, at a scale, of the reduced images and their logits,
        and of one image whose rows are already reduced, with two or four bytes a value.

        Args:
            images: uint8 or uint16 [H, W, C], as the document says.
            probability: Whether the answers hold the probabilities.
            on_tile: Called after every tile of a large image.

        Raises:
            UserError: if an image has other channels or bits than the model takes, or a logit is not finite.
        """
        inputs = (area_average(image, self.input_shape(image.shape)) for image in map(self._checked, images))
        maps = predict_images(self._logits, inputs, batch_size=BATCH_SIZE, progress=lambda image: on_tile)
        return [
            self._answer(_finite(bands), image.shape[:2], probability=probability)
            for image, bands in zip(images, maps, strict=True)
        ]

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the height and the width that the network takes an image of [H, W, …] pixels at."""
        return input_shape(shape, self.document.scale, self.document.image_size)

    def check(self) -> None:
        """Compare the network with its digest, and the answer to the example with the registered one.

        Raises:
            UserError: if they differ.
        """
        document = self.document
        int8 = document.int8 if self.precision == network.INT8 else None
        digest, expected = network.sha256(self._files), int8.sha256 if int8 else document.network_sha256
        if digest != expected:
            raise UserError(
                f"{self._files[0]} has the SHA-256 {digest[:12]}…, expected "
                f"{expected[:12]}…; fetch the model again"
            )
        answer, (score, mean) = int8 or document.example, self.answer_example()
        of_score = SCORE_TOLERANCE[self.precision] * (1 + abs(answer.score))
        self._require_close("score", score, answer.score, of_score)
        self._require_close("mean probability", mean, answer.mean_probability, MEAN_TOLERANCE[self.precision])

    def answer_example(self) -> tuple[float, float]:
        """Return the score of the example, and the mean of its probabilities."""
        document, example = self.document, self.document.example
        image = texture(example.height, example.width, document.channels, document.bits, example.seed)
        answer = self.inspect([image], probability=True)[0]
        assert answer.probability is not None
        return answer.score, float(answer.probability.mean(dtype=np.float64))

    def _require_close(self, name: str, value: float, expected: float, tolerance: float) -> None:
        if not abs(value - expected) <= tolerance:
            raise UserError(
                f"{self.folder} gives its example the {name} {value:.4g}, expected {expected:.4g} ± "
                f"{tolerance:.2g}; register the model again"
            )

    def _checked(self, image: NDArray[Any]) -> NDArray[Any]:
        channels, dtype = self.document.channels, np.dtype(f"uint{self.document.bits}")
        if image.ndim != 3 or image.shape[2] != channels or image.dtype != dtype or not image.size:
            raise UserError(
                f"an image of shape {image.shape} and type {image.dtype}: expected (H, W, {channels}) and "
                f"{dtype}"
            )
        return image

    def _logits(self, images: NDArray[Any]) -> Logits:
        """Return the logits [B, H, W] of images [B, H, W, C], averaged over the poses."""
        poses = self.document.test_time_poses
        logits: Logits = average_logits(self._network, images.astype(np.float32), poses)
        return logits[..., 0]

    def _answer(self, bands: Iterator[Logits], shape: tuple[int, ...], *, probability: bool) -> Inspection:
        """Return the answer to an image of `shape` pixels from the bands of its logits."""
        document, score = self.document, RunningScore(self.document.image_score)
        mask = np.empty(shape, bool)
        values = np.empty(shape, np.float32) if probability else None
        top = 0
        for strip, above in self._strips(bands, shape, score, probability=probability):
            rows = slice(top, top + len(above))
            mask[rows] = above
            if values is not None:
                values[rows] = strip
            top = rows.stop
        value = score.value()
        return Inspection(mask, value, value > document.image_threshold, values)

    def _strips(
        self, bands: Iterator[Logits], shape: tuple[int, ...], score: RunningScore, *, probability: bool
    ) -> Iterator[tuple[NDArray[Any] | None, NDArray[np.bool_]]]:
        """Yield probability, if it is asked for, and mask from top to bottom; add the logits to the score."""
        threshold = self.document.threshold
        if self.input_shape(shape) == shape:
            for band in bands:
                score.add(band)
                yield sigmoid(band) if probability else None, exceeds(band, threshold)
            return
        small = np.concatenate(list(bands))
        score.add(small)
        for strip in interpolate(sigmoid(small).astype(np.float32), *shape):
            yield strip, strip > threshold


def _finite(bands: Iterator[Logits]) -> Iterator[Logits]:
    """Yield the bands; raise an error if a logit is not finite."""
    for band in bands:
        if not np.isfinite(band).all():
            raise UserError("the model's logits are not finite; expected numbers: train it again")
        yield band
