import csv
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from tinyunet.config import EvalConfig
from tinyunet.data.dataset import area_average, load_split
from tinyunet.errors import UserError
from tinyunet.evaluation import evaluate as evaluation_module
from tinyunet.evaluation import export
from tinyunet.evaluation.evaluate import evaluate
from tinyunet.evaluation.export import Operating, find_operating, load_serving, predict, serving_model
from tinyunet.evaluation.inference import Predictor
from tinyunet.evaluation.serving import OUTPUTS
from tinyunet.model import unet
from tinyunet.model.metrics import image_score
from tinyunet.model.unet import rebuild

Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def network(model: Path) -> keras.Model:
    return keras.models.load_model(model / "model.keras", compile=False)


@pytest.fixture(scope="module")
def images(records: Path) -> Bytes:
    return load_split(records, "test", 64).images[:4]


def _identity(size: int) -> keras.Model:
    """Logits are (grey - 100) / 20: all numbers can be had by hand."""
    inputs = keras.Input((size, size, 1))
    return keras.Model(inputs, keras.layers.Rescaling(1 / 20, -5.0)(inputs))


def _sigmoid(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return 1 / (1 + np.exp(-x))


def test_at_its_own_size_serving_gives_the_models_outputs(network: keras.Model, images: Bytes) -> None:
    logits = network(images[..., None].astype("float32")).numpy()
    result = serving_model(network, 0.3, 1.0, 64).predict_on_batch(images[..., None])
    assert set(result) == set(OUTPUTS)
    np.testing.assert_allclose(result["probability"], _sigmoid(logits), atol=1e-5)
    np.testing.assert_array_equal(result["mask"], (result["probability"] > 0.3).astype(np.uint8))
    np.testing.assert_allclose(result["score"], logits.reshape(4, -1).max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(result["defective"], result["score"] > 1.0)
    assert {name: value.dtype.name for name, value in result.items()} == {
        "probability": "float32",
        "mask": "uint8",
        "score": "float32",
        "defective": "uint8",
    }


@pytest.mark.parametrize("size", [64, 100])
def test_over_eight_poses_serving_gives_the_evaluations_outputs(
    network: keras.Model, images: Bytes, tmp_path: Path, size: int
) -> None:
    serving = serving_model(network, 0.3, 1.0, 64, image_score="top100", test_time_poses=8)
    serving.save(tmp_path / "serving.keras")
    given = np.stack([np.kron(i, np.ones((2, 2), np.uint8))[:size, :size] for i in images])
    resized = np.stack([area_average(i, 64) for i in given])
    logits = Predictor(network, EvalConfig(test_time_poses=8)).logits(resized)
    one = Predictor(network, EvalConfig()).logits(resized)
    assert abs(logits - one).max() > 1e-2, "or the poses would not show"
    for model in (serving, keras.models.load_model(tmp_path / "serving.keras", compile=False)):
        result = model.predict_on_batch(given[..., None])
        np.testing.assert_allclose(result["score"], image_score(logits, "top100"), rtol=1e-4)
        if size == 64:
            np.testing.assert_allclose(result["probability"][..., 0], _sigmoid(logits), atol=1e-5)
            np.testing.assert_array_equal(result["mask"], result["probability"] > 0.3)


def test_a_model_judged_over_eight_poses_predicts_so(
    model: Path, records: Path, raw: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(model, tmp_path / "model")
    judged = evaluate(copied, records, tmp_path / "evaluation", EvalConfig(test_time_poses=8, overlays=0))
    predict(copied, [raw / "Test"], tmp_path / "out")
    rows = {row["name"]: row for row in _rows(tmp_path / "out")}
    for image in judged["images"]:
        assert float(rows[image["name"]]["score"]) == pytest.approx(image["score"], abs=1e-4)
        assert abs(int(rows[image["name"]]["area"]) - image["tp"] - image["fp"]) <= 2


def test_top100_is_the_mean_of_the_hundred_largest_logits(network: keras.Model, images: Bytes) -> None:
    logits = network(images[..., None].astype("float32")).numpy().reshape(4, -1)
    result = serving_model(network, 0.5, 0.0, 64, image_score="top100").predict_on_batch(images[..., None])
    np.testing.assert_allclose(result["score"], np.sort(logits)[:, -100:].mean(axis=1), rtol=1e-4)


def test_the_smoothed_score_is_the_evaluations(network: keras.Model, images: Bytes) -> None:
    logits = network(images[..., None].astype("float32")).numpy()
    result = serving_model(network, 0.5, 0.0, 64, image_score="smoothed").predict_on_batch(images[..., None])
    np.testing.assert_allclose(result["score"], image_score(logits, "smoothed"), rtol=1e-4)


@pytest.mark.parametrize("side", [128, 512, 96, 100])
def test_larger_images_are_shrunk_as_the_training_data_are(side: int) -> None:
    source = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    small = (area_average(source, 32) / 20 - 5.0).astype(np.float32)
    result = serving_model(_identity(32), 0.5, 0.0, 32).predict_on_batch(source[None, ..., None])
    expected = Image.fromarray(_sigmoid(small)).resize((side, side), Image.Resampling.BILINEAR)
    # a grey level on the edge of rounding may move: 1 level is 1/80 in probability
    difference = abs(result["probability"][0, ..., 0] - np.asarray(expected))
    assert difference.max() < 0.02
    assert np.quantile(difference, 0.95) < 1e-4
    assert result["score"][0] == pytest.approx(small.max(), abs=0.051)


def test_a_wide_image_keeps_its_size_and_its_sides() -> None:
    source = np.zeros((1, 64, 128, 1), np.uint8)
    source[:, :, 64:] = 200  # right half
    result = serving_model(_identity(32), 0.5, 0.0, 32).predict_on_batch(source)
    assert result["mask"].shape == source.shape
    assert result["mask"][0, :, :62].max() == 0
    assert result["mask"][0, :, 66:].min() == 1


def test_the_saved_serving_model_needs_nothing_but_keras(
    network: keras.Model, images: Bytes, tmp_path: Path
) -> None:
    serving = serving_model(network, 0.5, 0.0, 64)
    serving.save(tmp_path / "serving.keras")
    config = zipfile.ZipFile(tmp_path / "serving.keras").read("config.json").decode()
    assert '"tinyunet.' not in config
    loaded = keras.models.load_model(tmp_path / "serving.keras", compile=False)
    twice = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)[..., None]
    for batch in (images[..., None], twice):
        expected, found = serving.predict_on_batch(batch), loaded.predict_on_batch(batch)
        for name in OUTPUTS:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_the_saved_model_for_tensorflow_gives_keras_outputs(
    network: keras.Model, images: Bytes, tmp_path: Path
) -> None:
    serving = serving_model(network, 0.5, 0.0, 64)
    serving.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    found = saved.serve(images[..., None])
    expected = serving.predict_on_batch(images[..., None])
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-3)
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-3)


@pytest.fixture
def inputs(raw: Path, tmp_path: Path) -> Path:
    """Three good images."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("0001.PNG", "0002.PNG", "0003.PNG"):
        shutil.copy(raw / "Test" / name, folder)
    return folder


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_writes_mask_overlay_and_row_of_every_image(
    model: Path, inputs: Path, tmp_path: Path
) -> None:
    found = predict(model, [inputs], tmp_path / "out")
    rows = _rows(tmp_path / "out")
    assert found == (3, sum(row["defective"] == "1" for row in rows))
    assert [row["name"] for row in rows] == ["0001", "0002", "0003"]
    for row in rows:
        with Image.open(tmp_path / "out" / f"{row['name']}_mask.png") as mask:
            assert (mask.mode, mask.size) == ("L", (64, 64))
            assert int(row["area"]) == (np.asarray(mask) == 255).sum()
            assert set(np.unique(np.asarray(mask))) <= {0, 255}
        with Image.open(tmp_path / "out" / f"{row['name']}_overlay.png") as overlay:
            assert (overlay.mode, overlay.size) == ("RGB", (64, 64))


def test_predict_agrees_with_the_evaluation_of_the_same_model(
    model: Path, evaluation: Path, raw: Path, tmp_path: Path
) -> None:
    predict(model, [raw / "Test"], tmp_path / "out")
    rows = {row["name"]: row for row in _rows(tmp_path / "out")}
    result = json.loads((evaluation / "metrics.json").read_text())
    for image in result["images"]:
        row = rows[image["name"]]
        assert float(row["score"]) == pytest.approx(image["score"], abs=1e-3)
        assert abs(int(row["area"]) - image["tp"] - image["fp"]) <= 2
        assert row["defective"] == str(int(image["score"] > result["test"]["image_threshold"]))


def test_thresholds_come_from_an_evaluation_of_these_very_weights(
    model: Path, evaluation: Path, tmp_path: Path
) -> None:
    result = json.loads((evaluation / "metrics.json").read_text())
    found = find_operating(model, result["model"]["sha256"])
    assert found == Operating(result["threshold"], result["test"]["image_threshold"], "max")
    assert find_operating(model, "0" * 64) == Operating(0.5, 0.0, "max")
    assert find_operating(tmp_path, result["model"]["sha256"]) == Operating()


def _judgement(folder: Path, sha256: str, threshold: float, **more: object) -> None:
    folder.mkdir()
    content = {"threshold": threshold, "test": {"image_threshold": 2.36}, "image_score": "max", **more}
    (folder / "metrics.json").write_text(json.dumps({"model": {"sha256": sha256}} | content))


def test_the_newest_evaluation_counts_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert find_operating(tmp_path / "model", "a" * 64) == Operating()
    lines = capsys.readouterr().err
    assert lines == f"thresholds 0.5 and 0 (no evaluation found beside {tmp_path / 'model'})\n"
    _judgement(tmp_path / "b", "a" * 64, 0.2, evaluated_at="2026-02-01T00:00:00+00:00")
    _judgement(tmp_path / "a", "a" * 64, 0.1, evaluated_at="2026-01-01T00:00:00+00:00")
    _judgement(tmp_path / "c", "c" * 64, 0.3, evaluated_at="2026-03-01T00:00:00+00:00")
    assert find_operating(tmp_path / "model", "a" * 64).threshold == 0.2
    assert capsys.readouterr().err == f"thresholds 0.2 and 2.36 from {tmp_path / 'b'}\n"
    _judgement(tmp_path / "d", "a" * 64, 0.163, test_time_poses=8)  # without a date: its file's
    assert find_operating(tmp_path / "model", "a" * 64) == Operating(0.163, 2.36, "max", 8)
    assert "0.163 and 2.36 over 8 poses from" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['{"model": "resnet50"}', "[1]", "no JSON", '{"model": {}}'])
def test_metrics_of_another_program_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text(content)
    _judgement(tmp_path / "zz", "a" * 64, 0.2)
    assert find_operating(tmp_path / "model", "a" * 64).threshold == 0.2


@pytest.mark.parametrize("name", ["model/model.keras", "model/copy.keras", "copy"])
def test_a_keras_file_takes_the_thresholds_of_its_folder(
    model: Path, evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    shutil.copytree(model, tmp_path / "model")
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "copy").mkdir()
    for place in ("model", "copy"):
        shutil.copy(model / "model.keras", tmp_path / place / "copy.keras")
    load_serving(tmp_path / name)
    assert capsys.readouterr().err.endswith(f" from {tmp_path / 'evaluation'}\n")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_what_this_machine_only_emulates_runs_in_float32(
    model: Path,
    records: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
) -> None:
    copied = shutil.copytree(model, tmp_path / "model")
    network = rebuild(keras.models.load_model(model / "model.keras"), precision=policy, plain=True)
    network.save(copied / "model.keras")
    serving_model(network, 0.5, 0.0, 64).save(tmp_path / "serving.keras")
    used: list[str] = []
    forward = evaluation_module.rebuild

    def watched(network: keras.Model) -> keras.Model:
        used.append(network.get_layer("decoder0_conv1").dtype_policy.name)
        return forward(network)

    monkeypatch.setattr(evaluation_module, "rebuild", watched)
    for emulated, expected in ((True, "float32"), (False, policy)):
        monkeypatch.setattr(unet, "is_emulated", lambda name, e=emulated: e and name == policy)
        evaluate(copied, records, tmp_path / f"judged{emulated}", EvalConfig(overlays=0))
        assert used.pop() == expected
        for place in (copied, tmp_path / "serving.keras"):
            inner = load_serving(place).get_layer("tinyunet")
            assert inner.get_layer("decoder0_conv1").dtype_policy.name == expected
        said = capsys.readouterr().err
        assert said.count(f"only emulates {policy}: the model runs in float32") == 3 * emulated


def test_files_of_the_same_name_do_not_overwrite_each_other(
    model: Path, inputs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(inputs / "0002.PNG", other / "0001.png")
    shutil.copy(inputs / "0002.PNG", other / "0001-2.png")
    predict(model, [inputs / "0001.PNG", other], tmp_path / "out")
    rows = _rows(tmp_path / "out")
    assert [row["name"] for row in rows] == ["0001", "0001-2", "0001-3"]
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 3


def test_a_bad_file_is_named_and_the_others_are_predicted(
    model: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 64)).save(inputs / "0004.png")
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(inputs / "0005.png")
    (inputs / "0006.png").write_bytes((inputs / "0001.PNG").read_bytes()[:300])
    (inputs / "0007.png").write_text("no picture")
    with pytest.raises(UserError, match="4 of 7 files were refused"):
        predict(model, [inputs], tmp_path / "out")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(inputs))]
    assert len(lines) == 4
    assert "0004.png is 8-bit RGB, expected 8-bit grey" in lines[0]
    assert "16-bit" in lines[1]
    assert len(_rows(tmp_path / "out")) == 3


def test_nothing_is_written_when_no_file_is_usable(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match="none of 1 files"):
        predict(model, [tmp_path / "a.png"], tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_images_of_several_sizes_go_through_in_one_run(model: Path, inputs: Path, tmp_path: Path) -> None:
    Image.new("L", (100, 80), 90).save(inputs / "0002b.png")
    predict(model, [inputs], tmp_path / "out")
    with Image.open(tmp_path / "out" / "0002b_mask.png") as mask:
        assert mask.size == (100, 80)
    assert [row["name"] for row in _rows(tmp_path / "out")] == ["0001", "0002", "0002b", "0003"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.png", "missing.png does not exist"),
        ("empty", "holds no PNG"),
        ("out/0001.PNG", "is replaced"),
    ],
)
def test_bad_inputs_are_refused_before_anything_is_done(
    model: Path, inputs: Path, tmp_path: Path, given: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "out").mkdir()
    shutil.copy(inputs / "0001.PNG", tmp_path / "out")
    with pytest.raises(UserError, match=message):
        predict(model, [tmp_path / given], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["0001.PNG"]


@pytest.mark.parametrize("place", ["file/out", "readonly/out"])
def test_a_place_that_cannot_be_written_is_one_line(
    model: Path, inputs: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    mkdir = Path.mkdir

    def refuse(path: Path, *args: object, **kwargs: object) -> None:  # root may write everywhere
        if path.name == "readonly":
            raise PermissionError(13, "Permission denied", str(path))
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        UserError, match=rf"{place[:4]}.*(Not a directory|Permission denied) while making"
    ) as caught:
        predict(model, [inputs], tmp_path / place)
    assert "\n" not in str(caught.value)


def test_hidden_files_of_a_folder_are_no_images(model: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "._0001.PNG").write_bytes(b"\0\5\x16\7")  # what macOS keeps beside a file
    assert predict(model, [inputs], tmp_path / "out")[0] == 3


def test_a_folder_named_like_an_image_is_a_folder(model: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "more.png").mkdir()
    shutil.copy(inputs / "0001.PNG", inputs / "more.png")
    assert predict(model, [inputs], tmp_path / "out")[0] == 3
    assert predict(model, [inputs / "more.png"], tmp_path / "out")[0] == 1


def test_models_are_found_as_folder_file_and_inside_a_registry_download(
    network: keras.Model, model: Path, images: Bytes, tmp_path: Path
) -> None:
    (tmp_path / "download" / "data").mkdir(parents=True)
    serving_model(network, 0.5, 0.0, 64).save(tmp_path / "download" / "data" / "model.keras")
    places = (model, model / "model.keras", tmp_path / "download")
    found = [load_serving(place, plain=True) for place in places]
    scores = [one.predict_on_batch(images[..., None])["score"] for one in found]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-6)
    np.testing.assert_allclose(scores[2], scores[0], rtol=1e-6)
    fast = load_serving(model).predict_on_batch(images[..., None])["score"]
    np.testing.assert_allclose(fast, scores[0], atol=1e-5, err_msg="the fast layers round otherwise")


def test_a_model_with_other_outputs_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, {"heat": keras.layers.ReLU()(inputs)}).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match="gives heat; expected probability"):
        load_serving(tmp_path / "other.keras")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "does not exist"),
        ("empty", "holds 0 .keras files"),
        ("text.keras", "not a readable Keras model"),
    ],
)
def test_a_model_that_is_none_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(UserError, match=message):
        load_serving(tmp_path / name)


def test_images_are_read_one_batch_ahead_at_most() -> None:
    taken = 0

    def endless() -> Iterator[export.Item]:
        nonlocal taken
        while True:
            taken += 1
            yield export.Item(str(taken), Path("x"), np.zeros((8, 8), np.uint8))

    batches = export._batches(endless())
    for number in range(1, 20):
        assert len(next(batches)) == export.BATCH
        assert taken <= number * export.BATCH + 1
