"""The engine folder of a Keras model: ONNX, the description, and the comparison of both models."""

import hashlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tinyunet.core.documents.served import ServedExample, ServedModel
from tinyunet.core.errors import UserError
from tinyunet.data.resize import area_average, input_shape
from tinyunet.engine import network as engine_network
from tinyunet.engine.engine import Engine
from tinyunet.engine.example import texture
from tinyunet.engine.resize import interpolate
from tinyunet.model.unet import convert_to_float32
from tinyunet.serving.loading import is_serving_model
from tinyunet.serving.onnx_network import to_onnx
from tinyunet.serving.operating_point import OperatingPoint
from tinyunet.serving.serving_model import serving_model
from tinyunet.serving.sources import Source
from tinyunet.training.keras_file import load_model, weights_digest

TOLERANCE = 1e-3  # largest permitted difference of a probability or a score from the Keras model in float32
EXAMPLE = (64, 80)  # height and width of the example, which a model of a fixed size resizes
SEEDS = (0, 1)  # of the textures that are compared; the first one is the example


@dataclass(frozen=True)
class Network:
    """A bare network, and what it was trained on.

    Attributes:
        model: From levels float32 (B, H, W, C) to logits float32 (B, H, W, 1).
        image_size: Side in pixels to which images are resized; 0 if they are taken as they are.
        bits: Bits per channel of the images, 8 or 16.
        dataset: Name of the data set; empty if it is unknown.
        category: Category of the data set; empty if it has none.
        weights_digest: SHA-256 over all weights; empty if it is unknown.
        scale: Factor by which images are reduced before the network.
    """

    model: keras.Model
    image_size: int
    bits: int = 8
    dataset: str = ""
    category: str = ""
    weights_digest: str = ""
    scale: float = 1.0


def convert(source: Source, folder: Path) -> None:
    """Write the engine folder of a Keras model.

    Args:
        source: The model.
        folder: Folder to write; it must exist.

    Raises:
        UserError: if the file is not such a model; also as `write_engine` does.
    """
    loaded = load_model(source.file)
    bits = source.bits
    if is_serving_model(loaded, source.file):
        bits = 8 * np.dtype(loaded.inputs[0].dtype).itemsize
        loaded = next(layer for layer in loaded.layers if isinstance(layer, keras.Model))
    size = loaded.input_shape[1] or 0 if source.image_size is None else source.image_size
    digest = source.weights_digest or weights_digest(loaded)
    network = Network(loaded, size, bits, source.dataset, source.category, digest, source.scale)
    write_engine(folder, network, source.point)
    if source.reference is not None:
        shutil.copy(source.reference, folder)


def write_engine(folder: Path, network: Network, point: OperatingPoint) -> ServedModel:
    """Write the engine folder of a network, and compare its answers with those of the Keras model.

    Args:
        folder: Folder to write; it must exist.
        network: The network.
        point: Thresholds, score and poses.

    Returns:
        The content of engine.json.

    Raises:
        UserError: if the network is not a TinyUNet, or a probability or a score differs by more than
            TOLERANCE.
    """
    data = to_onnx(network.model).SerializeToString()
    (folder / engine_network.FILE).write_bytes(data)
    serving = serving_model(
        convert_to_float32(network.model), image_size=network.image_size, bits=network.bits, **asdict(point)
    )
    channels = int(network.model.input_shape[-1])
    images = [texture(*EXAMPLE, channels, network.bits, seed) for seed in SEEDS]
    answers = [_answer(serving, image, network.scale, point.threshold) for image in images]
    document = ServedModel(
        dataset=network.dataset,
        category=network.category,
        channels=channels,
        bits=network.bits,
        image_size=network.image_size,
        scale=network.scale,
        weights_digest=network.weights_digest,
        network_sha256=hashlib.sha256(data).hexdigest(),
        example=_example(answers[0]),
        **asdict(point),
    )
    document.write(folder)
    _compare(Engine(folder, precision="float32"), images, answers)
    return document


def _answer(
    serving: keras.Model, image: NDArray[Any], scale: float, threshold: float
) -> dict[str, NDArray[Any]]:
    """Return the answer of the served model to the image at a scale, enlarged to the size of the image."""
    shape = image.shape[:2]
    small = area_average(image, input_shape(shape, scale))
    answer = {name: np.asarray(value)[0] for name, value in serving(small[None]).items()}
    if small.shape != image.shape:
        probability = np.concatenate(list(interpolate(answer["probability"][..., 0], *shape)))[..., None]
        answer |= {"probability": probability, "mask": probability > threshold}
    return answer


def _example(answer: dict[str, NDArray[Any]]) -> ServedExample:
    return ServedExample(
        height=EXAMPLE[0],
        width=EXAMPLE[1],
        seed=SEEDS[0],
        score=float(answer["score"]),
        area=int(answer["mask"].sum()),
        mean_probability=float(answer["probability"].mean(dtype=np.float64)),
    )


def _compare(engine: Engine, images: list[NDArray[Any]], answers: list[dict[str, NDArray[Any]]]) -> None:
    for found, answer in zip(engine.inspect(images, probability=True), answers, strict=True):
        assert found.probability is not None
        difference = max(
            float(np.abs(found.probability - answer["probability"][..., 0]).max()),
            abs(found.score - float(answer["score"])),
        )
        if not difference <= TOLERANCE:
            raise UserError(
                f"the engine differs from the Keras model by {difference:.2g}; expected at most "
                f"{TOLERANCE:g}: report this model"
            )
