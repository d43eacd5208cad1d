"""The evaluation folder of a real model, and the refusal of models and records that do not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Split, load_split
from tinyunet.evaluation.evaluate import evaluate, read_evaluated_model

CONFIG = EvalConfig(overlays=3)


@pytest.fixture(scope="module")
def result(evaluation: Path) -> Evaluation:
    return Evaluation.read(evaluation)


@pytest.fixture(scope="module")
def test_split(records: Path) -> Split:
    return load_split(records, "test", 64)


@pytest.fixture(scope="module")
def probability(model: Path, test_split: Split) -> np.ndarray:
    """Probabilities that Keras predicts without this package: float64 [16, 64, 64]."""
    network = keras.models.load_model(model / "model.keras", compile=False)
    logits = network(np.asarray(test_split.images)[..., None].astype("float32")).numpy()[..., 0]
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_the_folder_is_complete(evaluation: Path) -> None:
    files = {p.relative_to(evaluation).as_posix() for p in evaluation.rglob("*") if p.is_file()}
    assert {"metrics.json", "report.html", "model_card.md"} < files
    assert {f"curves/{name}.png" for name in ("pr", "roc", "dice_vs_threshold", "history")} < files
    assert len([name for name in files if name.startswith("overlays/")]) == 6  # three worst, three best
    assert not evaluation.with_name("evaluation.part").exists()


def test_the_folder_holds_the_origin_of_its_records(evaluation: Path, records: Path, raw: Path) -> None:
    assert (evaluation / "records.json").read_bytes() == (records / "manifest.json").read_bytes()
    assert (evaluation / "sources.json").read_bytes() == (raw / "dataset.json").read_bytes()


def test_the_file_is_the_document_of_its_reader(evaluation: Path, result: Evaluation) -> None:
    assert (evaluation / "metrics.json").read_text() == result.text()


def test_an_evaluation_of_an_early_version_can_be_read(evaluation: Path, tmp_path: Path) -> None:
    values = json.loads((evaluation / "metrics.json").read_text())
    for missing in ("test_time_poses", "evaluated_at", "factory", "target", "cost"):
        del values[missing]
    for split in ("validation", "test"):
        del values[split]["pixel_ap"], values[split]["aupro"]
    for image in values["images"]:
        del image["type"]
    del values["data"]["pixels"], values["data"]["masks"]
    del values["data"]["shards"], values["model"]["weights_digest"]
    del values["model"]["training"]["validation_ap"]
    (tmp_path / "metrics.json").write_text(json.dumps(values))
    early = Evaluation.read(tmp_path)
    assert (early.factory, early.test.aupro, early.images[0].type) == (None, None, "")
    assert (early.test_time_poses, early.evaluated_at, early.model.weights_digest) == (1, "", "")


def test_scores_equal_those_of_a_plain_loop_over_the_images(
    result: Evaluation, test_split: Split, probability: np.ndarray
) -> None:
    predicted, label = probability > result.threshold, np.asarray(test_split.masks) >= 128
    dice, intersection, union = [], 0, 0
    for p, t, defective in zip(predicted, label, test_split.defective, strict=True):
        intersection, union = intersection + (p & t).sum(), union + (p | t).sum()
        if defective:
            dice.append(2 * (p & t).sum() / (p.sum() + t.sum()))
    assert result.test.dice_defective == pytest.approx(np.mean(dice), abs=1e-9)
    assert result.test.pooled_iou == pytest.approx(intersection / union, abs=1e-9)
    assert len(dice) == result.data.defective == 5


def test_nvidia_iou_equals_its_formula_image_by_image(
    result: Evaluation, test_split: Split, probability: np.ndarray
) -> None:
    label = np.asarray(test_split.masks) >= 128
    for threshold, value in result.test.nvidia_iou.items():
        scores = [
            (2 * (t & (p > float(threshold))).sum() + 1e-5) / (t.sum() + (p > float(threshold)).sum() + 1e-5)
            for p, t in zip(probability, label, strict=True)
        ]
        assert value == pytest.approx(np.mean(scores), abs=1e-9)
    assert result.test.nvidia_iou_floor == pytest.approx(11 / 16, abs=1e-5)


def test_the_score_of_an_image_is_its_largest_logit(result: Evaluation, probability: np.ndarray) -> None:
    largest = probability.reshape(16, -1).max(axis=1)
    scores = [image.score for image in result.images]
    assert scores == pytest.approx(np.log(largest / (1 - largest)), abs=1e-4)


def test_the_production_line_adds_up_to_the_verdicts_on_images(result: Evaluation) -> None:
    factory, image = result.factory, result.test.image
    assert factory is not None
    assert factory.passed is not None
    assert factory.stopped is not None
    assert (factory.passed.count, factory.passed.of) == (image.fn, 5)
    assert (factory.stopped.count, factory.stopped.of) == (image.fp, factory.good_parts)
    assert factory.found.of == sum(size.defects for size in factory.sizes) >= 5
    assert result.test.aupro is not None


def test_the_images_add_up_to_the_pixel_counts(result: Evaluation, test_split: Split) -> None:
    for name in ("tp", "fp", "fn"):
        assert sum(getattr(image, name) for image in result.images) == getattr(result.test.pixel, name)
    assert [image.name for image in result.images] == list(test_split.names)
    assert all((image.dice is None) != image.defective for image in result.images)


def test_model_and_data_are_identified_by_digests(result: Evaluation, model: Path, records: Path) -> None:
    manifest = RecordsManifest.read(records)
    assert result.data.digest == manifest.digest
    assert result.data.test_digest == manifest.splits["test"].digest
    assert (result.data.pixels, result.data.masks) == (("8-bit grey",), "0 and 255")
    assert result.model == read_evaluated_model(model)
    assert result.notes == ()
    assert not result.comparable
    assert "synthetic" in result.comparability
    assert "64×64" in result.comparability


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _break(folder: Path, what: str) -> None:
    weights = folder / "model.keras"
    match what:
        case "missing model":
            weights.unlink()
        case "truncated model":
            weights.write_bytes(weights.read_bytes()[:2000])
        case "no keras file":
            weights.write_text("weights")
        case "no model.json":
            (folder / "model.json").unlink()
        case "broken model.json":
            (folder / "model.json").write_text("{")
        case "other schema":
            _edit(folder, schema_version=2)
        case "missing key":
            content = json.loads((folder / "model.json").read_text())
            (folder / "model.json").write_text(json.dumps({k: v for k, v in content.items() if k != "train"}))
        case "other class":
            _edit(folder, category="class2")
        case "other scale":
            _edit(folder, scale=0.5)
        case "larger than the records":
            _edit(folder, image_size=512)
        case "weights that are not finite":
            network = keras.models.load_model(weights, compile=False)
            network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
            network.save(weights)


BAD = {
    "missing model": "holds no model.keras",
    "truncated model": "not a readable Keras model",
    "no keras file": "not a readable Keras model",
    "no model.json": r"holds no model\.json",
    "broken model.json": "is not JSON",
    "other schema": "schema 2, expected 1",
    "missing key": "train is missing; expected a file that `tinyunet train` wrote; train the model again",
    "other class": "class 2",
    "other scale": r"trained at scale 0\.5, but .* hold images at scale 1; expected the same: convert with",
    "larger than the records": "512",
    "weights that are not finite": "not finite",
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_model_is_refused_in_one_line_and_no_file_is_written(
    copy: Path, records: Path, tmp_path: Path, what: str
) -> None:
    _break(copy, what)
    with pytest.raises(UserError, match=BAD[what]) as error:
        evaluate(copy, records, tmp_path / "out", CONFIG)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(("what", "message"), [("manifest", "manifest.json"), ("shard", "test-0000")])
def test_bad_records_are_refused_in_one_line_and_no_file_is_written(
    model: Path, records: Path, tmp_path: Path, what: str, message: str
) -> None:
    broken = Path(shutil.copytree(records, tmp_path / "records"))
    if what == "manifest":
        (broken / "manifest.json").unlink()
    else:
        shard = next(broken.glob("test-*"))
        shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=message):
        evaluate(model, broken, tmp_path / "out", CONFIG)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["records"]


def test_a_folder_with_other_files_is_not_overwritten(model: Path, records: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(UserError, match=r"not empty and holds no metrics\.json"):
        evaluate(model, records, tmp_path, CONFIG)
    with pytest.raises(UserError, match="is a file"):
        evaluate(model, records, tmp_path / "thesis.tex", CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_older_evaluation_is_replaced_completely(
    model: Path, records: Path, evaluation: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(evaluation, tmp_path / "out"))
    (out / "overlays" / "stale.png").write_text("")
    second = evaluate(model, records, out, EvalConfig(overlays=0, image_score="top100"))
    assert not (out / "overlays" / "stale.png").exists()
    assert list((out / "overlays").iterdir()) == []
    assert Evaluation.read(out) == second
    assert second.image_score == "top100"
    assert second.test.dice_defective == pytest.approx(
        Evaluation.read(evaluation).test.dice_defective, abs=1e-6
    )
