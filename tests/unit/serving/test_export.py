"""Figures of an export, and the refusal of files that differ from the model."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.unit.serving.networks import logged_model
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.errors import UserError
from tinyunet.model.unet import build_unet, convert_to_float32
from tinyunet.serving import export as exporting
from tinyunet.serving.export import compare_outputs, export, table
from tinyunet.serving.formats import Runner
from tinyunet.serving.serving_model import serving_model


def test_figures_of_every_format_are_written_and_printed(exported: Path, evaluation: Path) -> None:
    figures = json.loads((exported / "export.json").read_text())
    dice = Evaluation.read(evaluation).test.dice_defective
    assert dice, "a Dice of 0 would be that of empty masks"
    assert figures["keras"]["dice_defective"] == pytest.approx(dice, abs=1e-3)
    assert list(figures) == ["keras", "saved_model", "onnx", "int8"]
    for name, row in figures.items():
        assert row.keys() == {"difference", "dice_defective", "images_per_s"}
        assert row["images_per_s"] > 0
        assert row["difference"] < (0.2 if name == "int8" else 1e-3)
        assert row["dice_defective"] == pytest.approx(figures["keras"]["dice_defective"], abs=0.05)
    assert [line.split()[0] for line in list(table(figures))[1:]] == list(figures)


def test_without_records_there_is_no_int8(tmp_path: Path) -> None:
    grey = keras.Input((16, 16, 1))
    keras.Model(grey, keras.layers.Conv2D(1, 3, padding="same")(grey)).save(tmp_path / "small.keras")
    figures = export(tmp_path / "small.keras", tmp_path / "out")
    assert list(figures) == ["keras", "saved_model", "onnx"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "export.json",
        "model.onnx",
        "saved_model",
    ]


def test_the_scale_of_the_images_is_said_and_records_of_another_scale_are_refused(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = logged_model(tmp_path, {"scale": 0.5})
    with pytest.raises(UserError, match=r"at scale 0\.5, but .* hold images at scale 1; .* with scale=0\.5"):
        export(folder, tmp_path / "out", records)
    assert list(export(folder, tmp_path / "out")) == ["keras", "saved_model", "onnx"]
    assert json.loads((tmp_path / "out" / "export.json").read_text())["scale"] == 0.5
    assert "the files take images at scale 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_exported_in_float32(precision: str) -> None:
    model = serving_model(build_unet(32, seed=3, precision=precision, plain=True), 0.5, 0.0, 32)
    converted = convert_to_float32(model)
    policies = {layer.dtype_policy.name for layer in converted.get_layer("tinyunet").layers}
    assert policies == {"float32"}
    expected = serving_model(build_unet(32, seed=3, plain=True), 0.5, 0.0, 32)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)
    np.testing.assert_allclose(converted(images)["score"], expected(images)["score"], rtol=1e-5)


def test_a_file_whose_outputs_differ_from_the_models_is_refused() -> None:
    images = [np.zeros((1, 4, 4, 1), np.uint8)]

    def run(shift: float) -> Runner:
        return lambda batch: {"probability": batch / 255 + shift, "score": np.zeros(len(batch)) + shift}

    with pytest.raises(
        UserError, match=r"onnx differs from the Keras model by 0\.002; expected at most 0\.001"
    ):
        compare_outputs({"keras": run(0.0), "onnx": run(0.002)}, images)
    with pytest.raises(UserError, match="by nan"):
        compare_outputs({"keras": run(0.0), "onnx": run(float("nan"))}, images)


def test_a_missing_package_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match="no_such_package not installed; needed to export: pip install"):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
