"""The int8 network of an engine, and what it loses on validation images."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.console import say, track
from tinyunet.core.documents.reference import MOST_IMAGES, ImageReference
from tinyunet.core.documents.served import Int8Network, ServedModel
from tinyunet.data.dataset import MASK_LEVEL, Split
from tinyunet.engine.engine import Engine, Inspection
from tinyunet.engine.network import INT8, network_files, sha256
from tinyunet.evaluation.reference import evenly_distributed
from tinyunet.model.metrics import dice
from tinyunet.model.tiles import pad_to_stride
from tinyunet.registry.quantization import quantize

CALIBRATION_IMAGES = 12  # every second one is defective, if there are as many
CALIBRATION_SIDE = 256  # pixels; of larger images, the part around the defect is used
FLOAT32_PIXELS = 64 * 512 * 512  # of all images that are also computed in float32, times the poses
INT8_PIXELS = 1024 * 512 * 512  # of all images, times the poses
LEAST_IMAGES = 20  # computed in int8, if there are as many
_NONE = "no int8 network, so that predictions use bfloat16 or float32"
MOST_DICE_LOSS = 0.005
"""Largest loss of Dice with which int8 is kept; another seed of the training changes more."""


@dataclass(frozen=True)
class Loss:
    """The difference between int8 and float32 on validation images.

    Attributes:
        positions: The images of the reference that were computed in int8.
        scores: Their scores in int8.
        images: Number of images that were computed in both precisions.
        changed_verdicts: Number of these images with another verdict.
        dice: Dice in float32 minus Dice in int8 of every defective image among them; may be negative.
    """

    positions: tuple[int, ...]
    scores: tuple[float, ...]
    images: int
    changed_verdicts: int
    dice: tuple[float, ...]

    @property
    def accepted(self) -> bool:
        """Whether the int8 network is kept."""
        return bool(self.dice) and self.mean <= MOST_DICE_LOSS and not self.changed_verdicts

    @property
    def mean(self) -> float:
        """Return the mean loss of Dice; 0 without defective images."""
        return sum(self.dice) / max(1, len(self.dice))

    def __str__(self) -> str:
        return (
            f"Dice {-self.mean:+.4f} (defective images: {len(self.dice)}), {self.changed_verdicts} of "
            f"{self.images} verdicts changed"
        )


def add_int8(folder: Path, validation: Split) -> None:
    """Give an engine folder an int8 network, unless that loses too much; print what was measured.

    It is kept if the mean Dice of the defective validation images falls by at most MOST_DICE_LOSS, and no
    verdict changes. If the folder has a reference of the validation images, it gets their scores in int8.

    The calibration takes 2 s on 2 cores; small images make it hardly faster. The comparison computes each
    image in both precisions, at most FLOAT32_PIXELS in float32: 17 s at most for images of 512×512. Of large
    images only INT8_PIXELS are computed, and the reference keeps only these images.

    Args:
        folder: Folder that `write_engine` wrote.
        validation: Validation split of the records, at the size of the model.
    """
    if not validation.defective.any():
        say(f"{_NONE}: no validation image is defective, so that the loss of Dice cannot be measured")
        return
    try:
        quantize(folder, list(_calibration(validation)))
        loss = measure_loss(folder, validation)
    except Exception as error:  # of NNCF or OpenVINO; the model is registered without int8
        _remove_int8(folder)
        say(f"{_NONE}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return
    if not loss.accepted:
        _remove_int8(folder)
        say(f"{_NONE}: {loss}; accepted are {-MOST_DICE_LOSS} and no changed verdict")
        return
    say(f"int8 network: {loss}")
    describe(folder, loss)


def _remove_int8(folder: Path) -> None:
    for file in network_files(folder, INT8):
        file.unlink(missing_ok=True)


def measure_loss(folder: Path, validation: Split) -> Loss:
    """Compare int8 with float32 on validation images, those of the reference.

    Args:
        folder: Engine folder with an int8 network.
        validation: Validation split of the records, at the size of the model.
    """
    fast, exact = (_engine_of_records(folder, precision) for precision in (INT8, "float32"))
    poses = exact.document.test_time_poses
    known = evenly_distributed(len(validation), MOST_IMAGES)
    pixels = poses * sum(int(np.asarray(validation.masks[i]).size) for i in known)
    positions = evenly_distributed(len(known), max(LEAST_IMAGES, len(known) * INT8_PIXELS // pixels))
    chosen = known[positions]
    both = _also_in_float32(validation, chosen, poses)
    scores, losses, changed = [], [], 0
    for i in track(iter(chosen), "measuring int8", total=len(chosen)):
        image = _image(validation, i)
        answer = fast.inspect([image])[0]
        scores.append(answer.score)
        if i in both:
            expected = exact.inspect([image])[0]
            changed += answer.defective != expected.defective
            if validation.defective[i]:
                label = np.asarray(validation.masks[i]) >= MASK_LEVEL
                losses.append(_dice(expected, label) - _dice(answer, label))
    return Loss(tuple(map(int, positions)), tuple(scores), len(both), changed, tuple(losses))


def _engine_of_records(folder: Path, precision: str) -> Engine:
    """Return an engine that does not reduce images, because those of the records are at the model's scale."""
    engine = Engine(folder, precision=precision)
    engine.document = engine.document.model_copy(update={"scale": 1.0})
    return engine


def describe(folder: Path, loss: Loss) -> None:
    """Write the int8 network and its loss into engine.json, and its scores into the reference, if any."""
    score, mean = Engine(folder, precision=INT8).answer_example()
    int8 = Int8Network(
        sha256=sha256(network_files(folder, INT8)),
        score=score,
        mean_probability=mean,
        dice_loss=loss.mean,
        dice_loss_bound=MOST_DICE_LOSS,
        defective_images=len(loss.dice),
        images=loss.images,
    )
    ServedModel.read(folder).model_copy(update={"int8": int8}).write(folder)
    if (folder / ImageReference.FILE).is_file():
        reference = ImageReference.read(folder)
        reference.of_images(loss.positions).model_copy(update={"int8_scores": loss.scores}).write(folder)


def _calibration(split: Split) -> Iterator[NDArray[np.float32]]:
    """Yield inputs of the network, float32 [1, H, W, C]: alternately of defective and of clean images."""
    kinds = (np.flatnonzero(split.defective), np.flatnonzero(~split.defective))
    alternating = chain.from_iterable(zip_longest(*kinds))
    for i in islice((i for i in alternating if i is not None), CALIBRATION_IMAGES):
        image, mask = _image(split, int(i)), np.asarray(split.masks[i]) >= MASK_LEVEL
        rows, columns = (
            _window(np.flatnonzero(mask.any(axis=axis)), mask.shape[1 - axis]) for axis in (1, 0)
        )
        yield pad_to_stride(image[rows, columns]).astype(np.float32)[None]


def _window(positions: NDArray[np.intp], length: int) -> slice:
    """Return CALIBRATION_SIDE pixels of an axis around the middle one of the defective positions."""
    middle = int(positions[len(positions) // 2]) if len(positions) else length // 2
    start = max(0, min(middle - CALIBRATION_SIDE // 2, length - CALIBRATION_SIDE))
    return slice(start, start + CALIBRATION_SIDE)


def _also_in_float32(split: Split, chosen: NDArray[np.intp], poses: int) -> set[int]:
    """Return the images that are computed in float32: all, or as many as FLOAT32_PIXELS permits, at least 2.

    Half of them are defective, if there are as many.
    """
    kinds = (chosen[split.defective[chosen]], chosen[~split.defective[chosen]])
    result: set[int] = set()
    pixels = 0
    for i in chain.from_iterable(zip_longest(*kinds)):
        if i is not None and (pixels < FLOAT32_PIXELS or len(result) < 2):
            result.add(int(i))
            pixels += poses * int(np.asarray(split.masks[i]).size)
    return result


def _image(split: Split, i: int) -> NDArray[Any]:
    """Return an image as the engine takes it, [H, W, C]."""
    image = np.asarray(split.images[i])
    return image if image.ndim == 3 else image[..., None]


def _dice(answer: Inspection, label: NDArray[np.bool_]) -> float:
    mask = answer.mask
    return float(dice((mask & label).sum(), (mask & ~label).sum(), (~mask & label).sum()))
