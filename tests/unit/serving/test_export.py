"""Exported files give the model's outputs; int8 computes in 8 bits and says what it loses."""

import json
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.evaluation.inference import Predictor
from tinyunet.model.unet import build_unet, convert_to_float32
from tinyunet.serving import export as exporting
from tinyunet.serving.export import calibration_images, compared, export, session, table
from tinyunet.serving.predict import load_serving
from tinyunet.serving.serving_model import serving_model

SIZES = [(64, 64), (100, 70)]


def grey(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (3, height, width, 1), dtype=np.uint8)


def test_figures_are_kept_and_shown_for_every_format(exported: Path, evaluation: Path) -> None:
    figures = json.loads((exported / "export.json").read_text())
    judged = json.loads((evaluation / "metrics.json").read_text())["test"]["dice_defective"]
    assert judged > 0, "or every Dice would be that of empty masks"
    assert figures["keras"]["dice_defective"] == pytest.approx(judged, abs=1e-3)
    assert list(figures) == ["keras", "saved_model", "onnx", "int8"]
    for name, found in figures.items():
        assert found.keys() == {"difference", "dice_defective", "images_per_s"}
        assert found["images_per_s"] > 0
        assert found["difference"] < (0.2 if name == "int8" else 1e-3)
        assert found["dice_defective"] == pytest.approx(figures["keras"]["dice_defective"], abs=0.05)
    assert [line.split()[0] for line in list(table(figures))[1:]] == list(figures)


def test_without_records_there_is_no_int8(model: Path, tmp_path: Path) -> None:
    figures = export(model / "model.keras", tmp_path / "out")
    assert list(figures) == ["keras", "saved_model", "onnx"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "export.json",
        "model.onnx",
        "saved_model",
    ]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_exported_in_float32(precision: str) -> None:
    model = serving_model(build_unet(32, seed=3, precision=precision, plain=True), 0.5, 0.0, 32)
    twin = convert_to_float32(model)
    policies = {layer.dtype_policy.name for layer in twin.get_layer("tinyunet").layers}
    assert policies == {"float32"}
    exact = serving_model(build_unet(32, seed=3, plain=True), 0.5, 0.0, 32)
    images = grey(32, 32)
    np.testing.assert_allclose(twin(images)["score"], exact(images)["score"], rtol=1e-5)


def test_a_file_that_does_not_hold_the_model_is_refused() -> None:
    images = [np.zeros((1, 4, 4, 1), np.uint8)]

    def run(shift: float) -> exporting.Runner:
        return lambda batch: {"probability": batch / 255 + shift, "score": np.zeros(len(batch)) + shift}

    with pytest.raises(
        UserError, match=r"onnx differs from the Keras model by 0\.002; expected at most 0\.001"
    ):
        compared({"keras": run(0.0), "onnx": run(0.002)}, images)
    with pytest.raises(UserError, match="by nan"):
        compared({"keras": run(0.0), "onnx": run(float("nan"))}, images)


def test_a_missing_package_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match="no_such_package not installed; needed to export: pip install"):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
