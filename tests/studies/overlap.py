"""What the overlap of tiles is worth: predictions by tiles compared with those of the whole image.

    python -m tests.studies.overlap model records

The tiles of 384 pixels are smaller than those of the product, so that images of 512² need several of them.
For each overlap: the pixels that the network computes per pixel of an image of 16,384² with the product's
tiles; the largest difference of a logit from that of the whole image, in float32; the pixels per million that
change sides of the probability 0.5; and the mean Dice of the defective test images at this probability.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import EvalConfig
from tinyunet.data.dataset import MASK_LEVEL, load_split
from tinyunet.evaluation.inference import Predictor
from tinyunet.model import tiles
from tinyunet.model.unet import rebuild
from tinyunet.training.keras_file import load_model

SIDE = 384
HALOS = (0, 16, 32, 64, 96, tiles.HALO)


def predict(network: tiles.Network, image: tiles.Image, halo: int, side: int = SIDE) -> tiles.Logits:
    """Return the logits of an image by tiles of `side` pixels that overlap by 2 · `halo`; float32 [H, W]."""
    with patch.object(tiles, "HALO", halo):
        return np.concatenate(list(tiles.bands(network, image, tile=side)))


def computed(halo: int, length: int = 16_384) -> float:
    """Return the pixels that the network computes per pixel of a square image of this length."""
    with patch.object(tiles, "HALO", halo):
        return (sum(part.stop - part.start for part in tiles.split_axis(length)) / length) ** 2


def dice(predicted: NDArray[np.bool_], label: NDArray[np.bool_]) -> float:
    return float(2 * (predicted & label).sum() / (predicted.sum() + label.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("records", type=Path)
    arguments = parser.parse_args()
    network = Predictor(
        rebuild(load_model(arguments.model / "model.keras"), precision="float32"), EvalConfig()
    ).logits
    split = load_split(arguments.records, "test", 0)
    labels = [split.masks[i] >= MASK_LEVEL for i in range(len(split.images))]
    pairs = [(split.images[i], label) for i, label in enumerate(labels) if label.any()]
    whole = [predict(network, image, 0, max(image.shape)) for image, _ in pairs]
    print("overlap  computed  largest difference  changed per million    Dice")
    for halo in HALOS:
        tiled = [predict(network, image, halo) for image, _ in pairs]
        differences = [np.abs(a - b).max() for a, b in zip(tiled, whole, strict=True)]
        changed = [((a > 0) != (b > 0)).mean() for a, b in zip(tiled, whole, strict=True)]
        scores = [dice(logits > 0, label) for logits, (_, label) in zip(tiled, pairs, strict=True)]
        print(
            f"{2 * halo:7}{computed(halo):10.2f}{max(differences):20.5f}{1e6 * np.mean(changed):21.1f}"
            f"{np.mean(scores):8.4f}"
        )


if __name__ == "__main__":
    main()
