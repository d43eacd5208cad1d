"""Engines of models in folders, files and the cache."""

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.unit.serving.networks import logged_model
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.core.files import file_sha256
from tinyunet.engine.engine import Engine
from tinyunet.serving import find
from tinyunet.serving.find import find_engine
from tinyunet.serving.loading import load_serving, serving_source
from tinyunet.serving.serving_model import serving_model


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def folders(model: Path, evaluation: Path, tmp_path: Path) -> Path:
    """A model folder and its evaluation, which a test may change."""
    shutil.copytree(model, tmp_path / "model")
    shutil.copytree(evaluation, tmp_path / "evaluation")
    return tmp_path / "model"


def refuse(*_: object) -> None:
    raise AssertionError("the engine is in the cache, but is written again")


def test_a_model_folder_is_converted_once(
    folders: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_engine(str(folders), cache=cache)
    assert found.folder.parent == cache / "engines"
    assert (found.name, found.version) == ("dagm-class1", "")
    said = capsys.readouterr().err
    assert f"from {folders.parent / 'evaluation'}" in said
    assert f"converting {folders} for the engine, once" in said
    document, result = ServedModel.read(found.folder), Evaluation.read(folders.parent / "evaluation")
    assert (document.threshold, document.image_threshold) == (
        result.threshold,
        result.test.image_threshold,
    )
    assert document.weights_digest == ModelDocument.read(folders).weights_digest
    Engine(found.folder).check()
    monkeypatch.setattr(find, "_convert", refuse)
    assert find_engine(str(folders), cache=cache) == found
    assert find_engine(str(folders / "model.keras"), cache=cache) == found


def test_another_operating_point_is_another_engine(folders: Path, cache: Path) -> None:
    first = find_engine(str(folders), cache=cache).folder
    evaluation = folders.parent / "evaluation"
    Evaluation.read(evaluation).model_copy(update={"threshold": 0.777}).write(evaluation)
    second = find_engine(str(folders), cache=cache).folder
    assert second != first
    assert ServedModel.read(second).threshold == 0.777


def test_a_damaged_engine_in_the_cache_is_written_again(folders: Path, cache: Path) -> None:
    folder = find_engine(str(folders), cache=cache).folder
    digest = file_sha256(folder / "network.onnx")
    (folder / "network.onnx").write_bytes(b"damaged")
    assert find_engine(str(folders), cache=cache).folder == folder
    assert file_sha256(folder / "network.onnx") == digest
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_reference_of_the_evaluation_is_a_part_of_the_engine(folders: Path, cache: Path) -> None:
    (folders.parent / "evaluation" / "reference.json").write_text("{}")
    assert (find_engine(str(folders), cache=cache).folder / "reference.json").read_text() == "{}"


def test_an_engine_folder_is_used_where_it_is(engine_folder: Path, cache: Path) -> None:
    assert find_engine(str(engine_folder), cache=cache).folder == engine_folder
    assert not cache.exists()


def test_an_engine_folder_with_another_network_is_refused(
    engine_folder: Path, cache: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "engine")
    with (folder / "network.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"network.onnx has the SHA-256 .*, expected"):
        find_engine(str(folder), cache=cache)
    (folder / "network.onnx").unlink()
    with pytest.raises(UserError, match=r"network\.onnx does not exist, expected"):
        find_engine(str(folder), cache=cache)


def test_a_keras_file_alone_has_the_bits_of_its_evaluation(folders: Path, cache: Path) -> None:
    """A network does not tell the bits of its images."""
    evaluation = folders.parent / "evaluation"
    result = Evaluation.read(evaluation)
    result.model_copy(update={"model": result.model.model_copy(update={"bits": 16})}).write(evaluation)
    alone = folders.parent / "alone" / "any.keras"
    alone.parent.mkdir()
    shutil.copy(folders / "model.keras", alone)
    assert ServedModel.read(find_engine(str(alone), cache=cache).folder).bits == 16
    assert load_serving(alone).inputs[0].dtype == "uint16"


@pytest.mark.parametrize(("size", "bits"), [(0, 16), (64, 8)])
def test_a_model_for_serving_keeps_its_thresholds_bits_score_and_poses(
    model: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], size: int, bits: int
) -> None:
    network = keras.models.load_model(model / "model.keras", compile=False)
    if not size:
        from tinyunet.model.unet import build_unet

        free = build_unet(plain=True)
        free.set_weights(network.get_weights())
        network = free
    served = serving_model(network, 0.3, -0.5, size, bits=bits, image_score="top100", test_time_poses=2)
    (tmp_path / "download" / "data").mkdir(parents=True)
    served.save(tmp_path / "download" / "data" / "model.keras")
    found = find_engine(str(tmp_path / "download"), cache=cache)
    assert "are those that it was exported with" in capsys.readouterr().err
    document = ServedModel.read(found.folder)
    assert (document.threshold, document.image_threshold) == (0.3, -0.5)
    assert (document.image_score, document.test_time_poses) == ("top100", 2)
    assert (document.bits, document.image_size) == (bits, size)
    image = np.random.default_rng(0).integers(0, 2**bits, (70, 64, 1)).astype(f"uint{bits}")
    answer = Engine(found.folder, precision="float32").inspect([image])[0]
    assert answer.score == pytest.approx(float(served(image[None])["score"][0]), abs=1e-3)


@pytest.mark.parametrize(
    ("metadata", "scale"), [({"scale": 0.5}, 0.5), ({"image_size": 0}, 1.0), (None, 1.0)]
)
def test_a_logged_model_has_the_scale_of_its_metadata(
    tmp_path: Path, cache: Path, metadata: dict[str, float] | None, scale: float
) -> None:
    folder = logged_model(tmp_path, metadata)
    assert ServedModel.read(find_engine(str(folder), cache=cache).folder).scale == scale
    assert serving_source(folder / "data" / "model.keras").scale == scale


def test_a_damaged_description_of_a_logged_model_is_refused(tmp_path: Path, cache: Path) -> None:
    folder = logged_model(tmp_path, None)
    (folder / "MLmodel").write_text("metadata: [")
    with pytest.raises(UserError, match="MLmodel is not a description of a model; download the model again"):
        find_engine(str(folder), cache=cache)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "does not exist; expected a model folder"),
        (lambda folder: folder.mkdir(), "holds 0 .keras files"),
        (lambda folder: folder.write_text("no model"), "not a readable Keras model"),
    ],
)
def test_a_path_without_a_model_is_refused_and_nothing_else_is_said(
    tmp_path: Path,
    cache: Path,
    make: Callable[[Path], None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path / "other.keras")
    with pytest.raises(UserError, match=message):
        find_engine(str(tmp_path / "other.keras"), cache=cache)
    assert not list(cache.glob("engines/*"))
    assert capsys.readouterr().err == ""
