"""Engine folders of Keras models: the same answers."""

from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.unit.serving.networks import small_network
from tinyunet.core.errors import UserError
from tinyunet.data.resize import area_average
from tinyunet.engine.engine import Engine
from tinyunet.serving import engine_files
from tinyunet.serving.engine_files import Network, write_engine
from tinyunet.serving.operating_point import OperatingPoint
from tinyunet.serving.serving_model import serving_model


def network(size: int | None, channels: int, bits: int) -> keras.Model:
    """Return an untrained network whose logits differ from pixel to pixel."""
    return small_network(size, channels=channels, scale=0.02 / 2 ** (bits - 8), offset=-2.5)


CASES = [
    (0, 1, 8, OperatingPoint(0.5, 0.25)),
    (0, 3, 8, OperatingPoint(0.45, 0.0, "top100", 8)),
    (0, 1, 16, OperatingPoint(0.5, 0.0, "smoothed")),
    (32, 1, 8, OperatingPoint(0.5, 0.0, "max")),
    (32, 3, 16, OperatingPoint(0.4, 0.1, "smoothed", 4)),
    (64, 1, 8, OperatingPoint(0.5, 0.0, "top100")),
]


@pytest.mark.parametrize(("size", "channels", "bits", "point"), CASES)
def test_masks_scores_and_verdicts_are_those_of_the_served_model_in_keras(
    tmp_path: Path, size: int, channels: int, bits: int, point: OperatingPoint
) -> None:
    model = network(size or None, channels, bits)
    document = write_engine(
        tmp_path, Network(model, size, bits, dataset="own", category="part 7", weights_digest="d" * 64), point
    )
    assert (document.title, document.channels, document.bits) == ("own part 7", channels, bits)
    serving = serving_model(model, image_size=size, bits=bits, **asdict(point))
    rng, top = np.random.default_rng(4), 2**bits
    engine = Engine(tmp_path, precision="float32")
    engine.check()
    for shape in ((32, 32), (47, 90), (130, 33)):
        image = rng.integers(0, top, (*shape, channels)).astype(f"uint{bits}")
        expected = {name: np.asarray(value)[0] for name, value in serving(image[None]).items()}
        found = engine.inspect([image], probability=True)[0]
        assert found.probability is not None
        np.testing.assert_allclose(found.probability, expected["probability"][..., 0], atol=1e-3)
        assert found.score == pytest.approx(float(expected["score"]), abs=1e-3)
        assert found.defective == bool(expected["defective"])
        near = np.abs(expected["probability"][..., 0] - point.threshold) < 1e-4
        assert (found.mask == expected["mask"][..., 0].astype(bool))[~near].all()


def test_the_engine_of_a_scale_passes_its_check_and_reduces_images_before_the_served_model(
    tmp_path: Path,
) -> None:
    model, point = network(None, 1, 8), OperatingPoint(0.5, 0.0)
    assert write_engine(tmp_path, Network(model, 0, scale=0.5), point).scale == 0.5
    engine = Engine(tmp_path, precision="float32")
    engine.check()
    image = np.random.default_rng(6).integers(0, 255, (48, 80, 1)).astype(np.uint8)
    answer = serving_model(model, image_size=0, **asdict(point))(area_average(image, (24, 40))[None])
    found = engine.inspect([image])[0]
    assert found.score == pytest.approx(float(answer["score"][0]), abs=1e-3)
    assert found.mask.shape == (48, 80)


def test_an_engine_that_differs_from_keras_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_onnx, other = engine_files.to_onnx, network(None, 1, 8)
    other.get_layer("logits").bias.assign([0.01])
    monkeypatch.setattr(engine_files, "to_onnx", lambda _: to_onnx(other))
    with pytest.raises(UserError, match=r"differs from the Keras model by 0\.01; expected at most 0\.001"):
        write_engine(tmp_path, Network(network(None, 1, 8), 0), OperatingPoint())
