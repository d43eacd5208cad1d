"""A model that was trained on patches takes whole images of any size, in every form that it has."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import without_graphs
from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.errors import UserError
from tinyunet.data.tfrecord import convert
from tinyunet.engine.engine import Engine
from tinyunet.evaluation.evaluate import evaluate
from tinyunet.model import tiles
from tinyunet.model.layers import JoinedConv2D, UpConv2D
from tinyunet.model.unet import PARAMETERS
from tinyunet.serving.find import find_engine
from tinyunet.serving.formats import write_onnx, write_saved_model
from tinyunet.serving.loading import load_serving
from tinyunet.serving.predict import predict
from tinyunet.serving.serving_model import serving_model
from tinyunet.tracking.tracker import NullTracker
from tinyunet.training.distributed import World
from tinyunet.training.loop import train
from tinyunet.training.run import TrainingRun


@pytest.fixture(scope="module")
def patch_model(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder after 3 steps on patches, and its evaluation beside it."""
    out = tmp_path_factory.mktemp("patches") / "model"
    config = TrainConfig(patch=32, steps=3, global_batch=8, precision="float32", validate_every=2)
    with without_graphs():
        train(TrainingRun(records=str(records), out=str(out), config=config), World(), NullTracker())
        evaluate(out, records, out.with_name("evaluation"), EvalConfig(overlays=2))
    return out


@pytest.fixture(scope="module")
def served(patch_model: Path) -> keras.Model:
    return load_serving(patch_model, plain=True)


def test_the_document_says_that_images_are_not_resized(patch_model: Path) -> None:
    document = ModelDocument.read(patch_model)
    assert (document.image_size, document.train.patch, document.parameters) == (0, 32, PARAMETERS)
    assert keras.models.load_model(patch_model / "model.keras").input_shape == (None, None, None, 1)


def test_the_evaluation_is_at_the_size_of_the_images(patch_model: Path) -> None:
    evaluation = Evaluation.read(patch_model.with_name("evaluation"))
    assert evaluation.image_size == 0
    assert sum(evaluation.test.pixel.model_dump().values()) == 16 * 64 * 64
    assert len(list((patch_model.with_name("evaluation") / "overlays").glob("*.png"))) == 4


def test_predict_agrees_with_the_evaluation(patch_model: Path, raw: Path, tmp_path: Path) -> None:
    files = sorted((raw / "images" / "test").glob("*.png"))
    predict(patch_model, files, tmp_path / "out", precision="float32")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = {row["name"].lower(): row for row in csv.DictReader(file)}
    for image in Evaluation.read(patch_model.with_name("evaluation")).images:
        row = rows[image.name.lower()]
        assert float(row["score"]) == pytest.approx(image.score, abs=1e-3)
        assert abs(int(row["area"]) - image.tp - image.fp) <= 2


def test_a_model_of_records_at_a_scale_predicts_images_as_they_were_evaluated(
    raw: Path, tmp_path: Path
) -> None:
    records, model, evaluation = (tmp_path / name for name in ("records", "model", "evaluation"))
    convert(raw, records, DataConfig(scale=0.75))
    config = TrainConfig(patch=32, steps=1, global_batch=4, precision="float32", validate_every=0)
    with without_graphs():
        train(TrainingRun(records=str(records), out=str(model), config=config), World(), NullTracker())
        result = evaluate(model, records, evaluation, EvalConfig(overlays=0))
    assert ModelDocument.read(model).scale == 0.75
    assert sum(result.test.pixel.model_dump().values()) == 16 * 48 * 48
    card = (evaluation / "model_card.md").read_text()
    assert "The exported network, and the Keras model in MLflow, take images at this scale." in card
    assert "--set scale=0.75\n" in card
    predict(model, sorted((raw / "images" / "test").glob("*.png")), tmp_path / "out", precision="float32")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        scores = {row["name"].lower(): float(row["score"]) for row in csv.DictReader(file)}
    for image in result.images:
        assert scores[image.name.lower()] == pytest.approx(image.score, abs=1e-3)
    with Image.open(next((tmp_path / "out").glob("*_mask.png"))) as mask:
        assert mask.size == (64, 64)


def test_images_of_any_kind_and_size_are_predicted(patch_model: Path, tmp_path: Path) -> None:
    """A folder without images is searched with its subfolders; colour becomes grey."""
    folder = tmp_path / "in" / "line 7"
    folder.mkdir(parents=True)
    Image.new("RGB", (50, 33), (200, 10, 10)).save(folder / "colour.webp", lossless=True)
    Image.new("L", (1, 3), 90).save(folder / "tiny.bmp")
    assert predict(patch_model, [tmp_path / "in"], tmp_path / "out")[0] == 2
    for name, size in (("colour", (50, 33)), ("tiny", (1, 3))):
        with Image.open(tmp_path / "out" / f"{name}_mask.png") as mask:
            assert mask.size == size


def test_an_image_of_other_bits_is_refused(patch_model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png is 16-bit grey, .* images of 8 bits; nothing was written"):
        predict(patch_model, [tmp_path / "a.png"], tmp_path / "out")


def test_tiles_of_the_engine_give_the_result_of_the_whole_image_in_keras(
    patch_model: Path, served: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 330, 1)).astype(np.uint8)
    whole = served.predict_on_batch(image[None])
    monkeypatch.setattr(tiles, "TILE", 2 * tiles.HALO + 32)
    assert tiles.count_tiles(image.shape) > 3
    engine = Engine(find_engine(str(patch_model)).folder, precision="float32")
    result = engine.inspect([image], probability=True)[0]
    assert result.score == pytest.approx(float(whole["score"][0]), abs=1e-3)
    assert result.defective == bool(whole["defective"][0])
    assert result.probability is not None
    np.testing.assert_allclose(result.probability, whole["probability"][0, ..., 0], atol=1e-3)
    assert (result.mask != whole["mask"][0, ..., 0]).sum() <= 2


def small_network() -> keras.Model:
    """Return a network of the layers of the U-Net for any size; its export takes a fifth of the time."""
    own = {"kernel_initializer": keras.initializers.HeUniform(seed=1)}
    grey = keras.Input((None, None, 1))
    top = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(keras.layers.Rescaling(1 / 64)(grey))
    low = keras.layers.MaxPooling2D()(top)
    both = JoinedConv2D(4, 3, **own)([UpConv2D(4, **own)(low), top])
    return keras.Model(grey, keras.layers.Conv2D(1, 1)(both))


def test_exported_files_take_images_of_any_size(tmp_path: Path) -> None:
    served = serving_model(small_network(), 0.5, 0.0, 0)
    runners = write_saved_model(served, tmp_path / "saved"), write_onnx(served, tmp_path / "model.onnx")
    for shape in ((2, 40, 33, 1), (1, 16, 100, 1)):
        images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        expected = served.predict_on_batch(images)
        for run in runners:
            outputs = run(images)
            np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-3)
            np.testing.assert_allclose(outputs["score"], expected["score"], atol=1e-3)
