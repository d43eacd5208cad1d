"""Operating points of models for serving, read from their layers."""

import json
import zipfile
from pathlib import Path

import keras
import pytest

from tinyunet.core.errors import UserError
from tinyunet.serving.exported import OUTPUTS, read_exported
from tinyunet.serving.operating_point import OperatingPoint
from tinyunet.serving.serving_model import serving_model


@pytest.mark.parametrize("size", [0, 32])
@pytest.mark.parametrize(("kind", "poses"), [("max", 1), ("top100", 8), ("smoothed", 2)])
def test_a_saved_model_tells_its_thresholds_its_score_and_its_poses(
    tmp_path: Path, size: int, kind: str, poses: int
) -> None:
    grey = keras.Input((size or None, size or None, 1))
    network = keras.Model(grey, keras.layers.Conv2D(1, 3, padding="same")(grey))
    model = serving_model(network, 0.375, -1.25, size, image_score=kind, test_time_poses=poses)
    model.save(tmp_path / "served.keras")
    with zipfile.ZipFile(tmp_path / "served.keras") as archive:
        stored = json.loads(archive.read("config.json"))["config"]
    loaded = keras.models.load_model(tmp_path / "served.keras").get_config()
    for config in (stored, loaded):
        assert read_exported(config, "served") == OperatingPoint(0.375, -1.25, kind, poses)


def test_a_model_with_other_outputs_is_refused() -> None:
    inputs = keras.Input((8, 8, 1))
    other = keras.Model(inputs, {"heat": keras.layers.ReLU()(inputs)})
    with pytest.raises(UserError, match="other gives heat; expected probability"):
        read_exported(other.get_config(), "other")
    named = keras.Model(inputs, {name: keras.layers.ReLU()(inputs) for name in OUTPUTS})
    with pytest.raises(UserError, match="named has no thresholds as"):
        read_exported(named.get_config(), "named")
