import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Split, load_split
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.evaluation.curves import curve_points
from tinyunet.evaluation.evaluate import evaluate, read_model
from tinyunet.evaluation.inference import Judged, Predictor, judge
from tinyunet.evaluation.results import summarize
from tinyunet.model.poses import from_pose, to_pose

CONFIG = EvalConfig(overlays=3)


@pytest.fixture(scope="module")
def result(evaluation: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((evaluation / "metrics.json").read_text())
    return content


@pytest.fixture(scope="module")
def test_split(records: Path) -> Split:
    return load_split(records, "test", 64)


@pytest.fixture(scope="module")
def probability(model: Path, test_split: Split) -> np.ndarray:
    """Predicted by Keras alone: float64 [16, 64, 64]."""
    network = keras.models.load_model(model / "model.keras", compile=False)
    logits = network(test_split.images[..., None].astype("float32")).numpy()[..., 0]
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_the_folder_is_complete(evaluation: Path, result: dict[str, Any]) -> None:
    files = {p.relative_to(evaluation).as_posix() for p in evaluation.rglob("*") if p.is_file()}
    assert {"metrics.json", "report.html", "model_card.md"} < files
    assert {f"curves/{name}.png" for name in ("pr", "roc", "dice_vs_threshold", "history")} < files
    assert len([name for name in files if name.startswith("overlays/")]) == 6  # three worst, three best
    assert not evaluation.with_name("evaluation.part").exists()


def test_scores_equal_those_of_a_plain_loop_over_the_images(
    result: dict[str, Any], test_split: Split, probability: np.ndarray
) -> None:
    predicted, label = probability > result["threshold"], test_split.masks >= 128
    dice, intersection, union = [], 0, 0
    for p, t, defective in zip(predicted, label, test_split.defective, strict=True):
        intersection, union = intersection + (p & t).sum(), union + (p | t).sum()
        if defective:
            dice.append(2 * (p & t).sum() / (p.sum() + t.sum()))
    assert result["test"]["dice_defective"] == pytest.approx(np.mean(dice), abs=1e-9)
    assert result["test"]["pooled_iou"] == pytest.approx(intersection / union, abs=1e-9)
    assert len(dice) == result["data"]["defective"] == 5


def test_nvidia_iou_equals_its_formula_image_by_image(
    result: dict[str, Any], test_split: Split, probability: np.ndarray
) -> None:
    label = test_split.masks >= 128
    for threshold, value in result["test"]["nvidia_iou"].items():
        scores = [
            (2 * (t & (p > float(threshold))).sum() + 1e-5) / (t.sum() + (p > float(threshold)).sum() + 1e-5)
            for p, t in zip(probability, label, strict=True)
        ]
        assert value == pytest.approx(np.mean(scores), abs=1e-9)
    assert result["test"]["nvidia_iou_floor"] == pytest.approx(11 / 16, abs=1e-5)


def test_images_are_scored_by_their_largest_logit(result: dict[str, Any], probability: np.ndarray) -> None:
    largest = probability.reshape(16, -1).max(axis=1)
    scores = [row["score"] for row in result["images"]]
    assert scores == pytest.approx(np.log(largest / (1 - largest)), abs=1e-4)


def test_image_rows_add_up_to_the_pixel_counts(result: dict[str, Any], test_split: Split) -> None:
    for name in ("tp", "fp", "fn"):
        assert sum(row[name] for row in result["images"]) == result["test"]["pixel"][name]
    assert [row["name"] for row in result["images"]] == list(test_split.names)
    assert all((row["dice"] is None) != row["defective"] for row in result["images"])


def test_metrics_name_model_and_data_by_digest(result: dict[str, Any], model: Path, records: Path) -> None:
    manifest = RecordsManifest.read(records)
    assert result["data"]["digest"] == manifest["digest"]
    assert result["data"]["test_digest"] == manifest["splits"]["test"]["digest"]
    assert result["model"]["sha256"] == read_model(model)["sha256"]
    assert result["notes"] == []
    assert not result["comparable"]
    assert "synthetic" in result["comparability"]
    assert "64×64" in result["comparability"]


def test_curves_end_where_everything_and_where_nothing_is_flagged(result: dict[str, Any]) -> None:
    roc, pr = result["curves"]["roc"], result["curves"]["pr"]
    assert (roc["fpr"][0], roc["tpr"][0]) == (0, 0)
    assert (roc["fpr"][-1], roc["tpr"][-1]) == (1, 1)
    assert (pr["recall"][0], pr["precision"][-1]) == (1, 1)
    for curve in result["curves"].values():
        assert len({len(values) for values in curve.values()}) == 1
        assert len(curve["threshold"]) <= 200
        assert np.isfinite([*curve.values()]).all()


def _judged(scores: list[float], *, flip: bool = False) -> Judged:
    """Four images of 2×2 pixels, two defective in one pixel, whose logits there are the scores."""
    logits = np.full((4, 2, 2), -5.0, np.float32)
    logits[:, 0, 0] = scores
    masks = np.zeros((4, 2, 2), np.uint8)
    masks[2:, 1 if flip else 0, 0] = 255
    split = Split("test", masks, masks, np.array([False, False, True, True]), ("a", "b", "c", "d"))

    class Given(Predictor):
        def __init__(self) -> None:
            pass

        def each(self, images: np.ndarray) -> Any:
            yield from logits

    return judge(Given(), split, EvalConfig())


def test_thresholds_come_from_validation_whatever_test_looks_like(model: Path, records: Path) -> None:
    identity, manifest = read_model(model), RecordsManifest.read(records)
    validation = _judged([-3, -1, 2, 4])
    results = [
        summarize(identity, manifest, EvalConfig(), validation=validation, test=test)
        for test in (validation, _judged([8, 9, -8, -9], flip=True))
    ]
    assert results[0]["threshold"] == results[1]["threshold"]
    assert [r["test"]["image_threshold"] for r in results] == [0.5, 0.5]  # between -1 and 2
    assert [r["test"]["dice_defective"] for r in results] == [1, 0]
    assert [r["test"]["image_auroc"] for r in results] == [1, 0]


def test_a_model_trained_on_other_records_is_told_apart(model: Path, records: Path) -> None:
    identity, manifest = read_model(model), RecordsManifest.read(records)
    judged = _judged([-3, -1, 2, 4])
    other = summarize(identity, manifest | {"digest": "0" * 64}, EvalConfig(), validation=judged, test=judged)
    assert "other records" in other["notes"][0]
    assert "another dataset" not in other["comparability"]
    foreign = manifest | {"source_digest": "0" * 64}
    found = summarize(identity, foreign, EvalConfig(), validation=judged, test=judged)
    assert "the model was trained on another dataset" in found["comparability"]


def _one_kind(defective: bool) -> Judged:
    judged = _judged([-3, -1, 2, 4])
    keep = judged.split.defective == defective
    split = Split(
        "test", judged.split.images[keep], judged.split.masks[keep], judged.split.defective[keep], ("a", "b")
    )
    return Judged(split, judged.counts.select(keep), judged.scores[keep])


@pytest.mark.parametrize(("defective", "drawn"), [(True, {"pr", "dice_vs_threshold"}), (False, set())])
def test_curves_that_the_images_do_not_define_are_empty(defective: bool, drawn: set[str]) -> None:
    points = curve_points(_one_kind(defective))
    assert {name for name, curve in points.items() if curve["threshold"]} == drawn


def test_labels_that_vanish_at_a_small_size_are_told(model: Path, records: Path) -> None:
    identity, manifest, judged = read_model(model), RecordsManifest.read(records), _judged([-3, -1, 2, 4])
    gone = dataclasses.replace(judged.counts, positives=np.array([0, 0, 0, 1]))
    test = Judged(judged.split, gone, judged.scores)
    note = summarize(identity, manifest, EvalConfig(), validation=judged, test=test)["notes"][0]
    assert "1 defective test image " in note


def test_every_pose_is_undone_and_all_eight_differ() -> None:
    image = np.arange(16).reshape(1, 4, 4)
    poses = [np.asarray(to_pose(image, pose)) for pose in range(8)]
    assert len({pose.tobytes() for pose in poses}) == 8
    for number, posed in enumerate(poses):
        np.testing.assert_array_equal(from_pose(posed, number), image)


def test_with_eight_poses_a_turned_image_gets_the_turned_logits(model: Path, test_split: Split) -> None:
    network = keras.models.load_model(model / "model.keras", compile=False)
    images = test_split.images[:2]
    straight, eight = (Predictor(network, EvalConfig(test_time_poses=n)) for n in (1, 8))  # type: ignore[arg-type]
    turned = np.asarray(to_pose(images, 5))
    np.testing.assert_allclose(eight.logits(turned), to_pose(eight.logits(images), 5), rtol=1e-3, atol=1e-3)
    assert abs(straight.logits(turned) - np.asarray(to_pose(straight.logits(images), 5))).max() > 1e-2


def test_a_half_covered_pixel_is_defective_by_its_label() -> None:
    class Silent:
        def each(self, images: np.ndarray) -> Iterator[np.ndarray]:
            return (np.zeros(image.shape, np.float32) for image in images)

    masks = np.array([[[128, 127], [0, 255]]], np.uint8)
    split = Split("test", np.zeros_like(masks), masks, np.array([True]), ("a",))
    predictor: Any = Silent()
    assert judge(predictor, split, EvalConfig()).counts.positives.tolist() == [2]


def test_the_size_of_batches_changes_nothing(model: Path, test_split: Split) -> None:
    network = keras.models.load_model(model / "model.keras", compile=False)
    counts = [judge(Predictor(network, c), test_split, c).counts for c in (CONFIG, EvalConfig(batch_size=5))]
    assert abs(counts[0].tp - counts[1].tp).max() <= 1  # a pixel on the edge of a level may move
    assert (counts[0].positives == counts[1].positives).all()


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
            _edit(folder, class_id=2)
        case "larger than the records":
            _edit(folder, image_size=512)
        case "weights that are no numbers":
            network = keras.models.load_model(weights, compile=False)
            network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
            network.save(weights)


BAD = {
    "missing model": "holds no model.keras",
    "truncated model": "not a readable Keras model",
    "no keras file": "not a readable Keras model",
    "no model.json": "does not exist",
    "broken model.json": "is not JSON",
    "other schema": "schema 2, expected 1",
    "missing key": "lacks train; train the model again",
    "other class": "class 2",
    "larger than the records": "512",
    "weights that are no numbers": "not finite",
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_model_is_one_clear_line_and_leaves_nothing(
    copy: Path, records: Path, tmp_path: Path, what: str
) -> None:
    _break(copy, what)
    with pytest.raises(UserError, match=BAD[what]) as error:
        evaluate(copy, records, tmp_path / "out", CONFIG)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(("what", "message"), [("manifest", "manifest.json"), ("shard", "test-0000")])
def test_bad_records_are_one_clear_line_and_leave_nothing(
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


def test_a_folder_of_something_else_is_not_overwritten(model: Path, records: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"not empty and holds no metrics\.json"):
        evaluate(model, records, tmp_path, CONFIG)
    with pytest.raises(UserError, match="is a file"):
        evaluate(model, records, tmp_path / "thesis.tex", CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_older_evaluation_is_replaced_as_a_whole(
    model: Path, records: Path, evaluation: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(evaluation, tmp_path / "out"))
    (out / "overlays" / "stale.png").write_text("")
    again = evaluate(model, records, out, EvalConfig(overlays=0, image_score="top100"))
    assert not (out / "overlays" / "stale.png").exists()
    assert list((out / "overlays").iterdir()) == []
    assert json.loads((out / "metrics.json").read_text()) == again
    assert again["image_score"] == "top100"
    assert again["test"]["dice_defective"] == pytest.approx(
        json.loads((evaluation / "metrics.json").read_text())["test"]["dice_defective"], abs=1e-6
    )
