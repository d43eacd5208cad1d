"""Prediction of one image of any size by a served model, by tiles, with progress."""

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tinyunet.core.console import INTERVAL_S, say
from tinyunet.core.errors import UserError
from tinyunet.model.regions import exceeds
from tinyunet.model.tiles import Logits, RunningScore, bands, count_tiles
from tinyunet.serving.native import LOGITS, read_decision


@dataclass(frozen=True)
class TiledPrediction:
    """The prediction of one image.

    Attributes:
        mask: bool [H, W], the defective pixels.
        score: Image-level score, a logit.
        defective: Whether the image is classified as defective.
    """

    mask: NDArray[np.bool_]
    score: float
    defective: bool


def predict_by_tiles(serving: keras.Model, image: NDArray[Any], name: str) -> TiledPrediction:
    """Predict one image; the memory is that of one tile and of a byte per pixel.

    Args:
        serving: A model of `native_model`.
        image: uint8 or uint16 [H, W, C].
        name: Name of the image, for the progress on stderr.

    Raises:
        UserError: if a logit is not finite.
    """
    decision = read_decision(serving)
    mask, top = np.empty(image.shape[:2], bool), 0
    score = RunningScore(decision.image_score)

    def network(batch: NDArray[Any]) -> Logits:
        logits: Logits = serving.predict_on_batch(batch)[LOGITS][..., 0]
        return logits

    for band in bands(network, image, on_tile=_Progress(name, count_tiles(image.shape))):
        if not np.isfinite(band).all():
            raise UserError(f"the model's logits on {name} are not finite; expected numbers: train it again")
        mask[top : top + len(band)] = exceeds(band, decision.threshold)
        score.add(band)
        top += len(band)
    value = score.value()
    return TiledPrediction(mask, value, value > decision.image_threshold)


class _Progress:
    """Prints a line every few seconds."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._start = self._last_line = time.monotonic()

    def __call__(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last_line >= INTERVAL_S and self._done < self._total:
            self._last_line = now
            remaining = (now - self._start) * (self._total - self._done) / self._done
            say(f"predicting {self._name}: {self._done}/{self._total} tiles, {remaining:.0f} s left")
