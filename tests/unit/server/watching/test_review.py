"""Kept images: which ones, how many, what happens to corrections, and what `ingest` makes of them."""

import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.server.metrics import Metrics
from tinyunet.server.watching.review import Candidate, Review
from tinyunet.server.watching.store import BucketStore, FolderStore, parse_keep

SIDE = 8
WAIT_S = 20.0


def candidate(number: int, score: float, *causes: str, bits: int = 8, channels: int = 1) -> Candidate:
    """Return an image whose pixels are its number; it is defective above the score 1, in its first row."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[0] = score > 1
    return Candidate(
        image=np.full((SIDE, SIDE, channels), number, f"uint{bits}"),
        mask=mask,
        name=f"part-{number}.png",
        score=score,
        threshold=1.0,
        defective=score > 1,
        causes=causes,
        model="part-7 4",
    )


def keep(folder: Path, *candidates: Candidate, limit: int = 3) -> Metrics:
    """Offer images to the review of a folder, one after the other, and end."""
    metrics = Metrics()
    review = Review(FolderStore(folder), limit, metrics)
    for one in candidates:
        review.offer(one)
        assert review.wait(WAIT_S)
    review.close()
    return metrics


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "review.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def kept(folder: Path) -> dict[int, str]:
    """Return the reasons of the kept images by their number, from the files."""
    found = {}
    for path in sorted((folder / "images").iterdir()):
        record = json.loads((folder / "records" / f"{path.stem}.json").read_text())
        assert (folder / "masks" / path.name).is_file()
        found[int(np.asarray(Image.open(path)).flat[0])] = record["reason"]
    assert len(list((folder / "masks").iterdir())) == len(list((folder / "records").iterdir())) == len(found)
    return found


def gauge(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_the_least_certain_images_are_kept_and_the_table_begins_with_the_least_certain(
    tmp_path: Path,
) -> None:
    scores = {1: 9.0, 2: 1.5, 3: -6.0, 4: 0.9, 5: 3.0, 6: 1.2, 7: 8.0}
    metrics = keep(tmp_path, *(candidate(number, score) for number, score in scores.items()))
    assert kept(tmp_path) == dict.fromkeys((2, 4, 6), "uncertain")
    assert [row["name"] for row in table(tmp_path)] == ["part-4.png", "part-6.png", "part-2.png"]
    assert table(tmp_path)[0]["model"] == "part-7 4"
    assert gauge(metrics, "tinyunet_kept_images", reason="uncertain") == 3


def test_the_mask_and_the_pixels_are_those_of_the_answer(tmp_path: Path) -> None:
    keep(tmp_path, candidate(60000, 1.5, bits=16), candidate(7, 0.5, channels=3))
    images = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "images").iterdir()}
    masks = {path.stem: np.asarray(Image.open(path).convert("L")) for path in (tmp_path / "masks").iterdir()}
    deep, colour = (row["key"] for row in sorted(table(tmp_path), key=lambda row: -float(row["score"])))
    assert (images[deep].shape, int(images[deep].max())) == ((SIDE, SIDE), 60000)
    assert (images[colour].shape, int(images[colour].max())) == ((SIDE, SIDE, 3), 7)
    assert masks[deep].tolist() == [[255] * SIDE, *[[0] * SIDE] * (SIDE - 1)]
    assert not masks[colour].any()


def test_drifted_images_are_kept_beside_the_uncertain_ones_until_there_are_as_many(tmp_path: Path) -> None:
    drifted = [candidate(number, 20.0, "brightness", "texture") for number in range(10, 15)]
    metrics = keep(tmp_path, *(candidate(number, 1.1) for number in (1, 2, 3)), *drifted)
    assert kept(tmp_path) == dict.fromkeys((1, 2, 3), "uncertain") | dict.fromkeys((10, 11, 12), "drifted")
    assert {row["causes"] for row in table(tmp_path)} == {"", "brightness texture"}
    assert gauge(metrics, "tinyunet_kept_images", reason="drifted") == 3


def test_an_image_is_kept_once(tmp_path: Path) -> None:
    keep(tmp_path, candidate(1, 1.1), candidate(1, 1.1), candidate(1, 1.0, "score"))
    assert kept(tmp_path) == {1: "uncertain"}


def test_a_restart_continues_with_what_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, *(candidate(number, 1 + number) for number in (1, 2, 3)))
    metrics = keep(tmp_path, candidate(9, 8.0), candidate(0, 1.5))
    assert kept(tmp_path) == dict.fromkeys((0, 1, 2), "uncertain")
    assert gauge(metrics, "tinyunet_kept_images", reason="uncertain") == 3


def test_files_that_were_written_halfway_are_deleted_at_the_start(tmp_path: Path) -> None:
    keep(tmp_path, candidate(1, 2.0), candidate(2, 3.0))
    first = table(tmp_path)[0]["key"]
    (tmp_path / "images" / f"{first}.png").unlink()
    (tmp_path / "records" / "notes.json").write_text("mine")
    keep(tmp_path, candidate(3, 4.0))
    assert not (tmp_path / "masks" / f"{first}.png").exists()
    assert (tmp_path / "records" / "notes.json").read_text() == "mine"
    (tmp_path / "records" / "notes.json").unlink()
    assert kept(tmp_path) == dict.fromkeys((2, 3), "uncertain")


def test_a_corrected_mask_is_never_deleted(tmp_path: Path) -> None:
    keep(tmp_path, *(candidate(number, 1 + number) for number in (1, 2, 3)))
    last = next(row["key"] for row in table(tmp_path) if row["name"] == "part-3.png")
    corrected = tmp_path / "masks" / f"{last}.png"
    Image.fromarray(np.eye(SIDE, dtype=np.uint8) * 255).save(corrected)
    keep(tmp_path, candidate(4, 1.5), candidate(5, 1.6), candidate(6, 1.7))
    assert kept(tmp_path) == dict.fromkeys((3, 4, 5, 6), "uncertain")
    assert np.asarray(Image.open(corrected)).trace() == 255 * SIDE


def test_a_corrected_mask_is_not_replaced_when_its_image_comes_again(tmp_path: Path) -> None:
    review = Review(FolderStore(tmp_path), 1, Metrics())
    keep(tmp_path, candidate(1, 3.0), limit=1)
    (corrected,) = (tmp_path / "masks").iterdir()
    Image.fromarray(np.eye(SIDE, dtype=np.uint8) * 255).save(corrected)
    for one in (candidate(2, 2.0), candidate(1, 1.1)):  # the second is now less certain, as by a new model
        review.offer(one)
        assert review.wait(WAIT_S)
    review.close()
    assert np.asarray(Image.open(corrected)).trace() == 255 * SIDE


def test_a_store_that_fails_is_logged_once_and_taken_again_when_it_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "review"
    folder.write_text("in the way")
    metrics = Metrics()
    review = Review(FolderStore(folder), 3, metrics)
    for number in range(3):
        review.offer(candidate(number, 1.1))
        assert review.wait(WAIT_S)
    assert len([record for record in caplog.records if "review" in record.message]) == 1
    assert gauge(metrics, "tinyunet_keep_failures_total") == 3
    folder.unlink()
    review.offer(candidate(4, 1.1))
    assert review.wait(WAIT_S)
    review.close()
    assert kept(folder) == {4: "uncertain"}


class SlowStore(FolderStore):
    """A store that takes its time, as a distant one does."""

    def write(self, name: str, data: bytes) -> None:
        time.sleep(0.2)
        super().write(name, data)


def test_a_slow_store_delays_nobody_and_the_queue_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyunet.server.watching.review.WAITING_BYTES", 1000)
    metrics = Metrics()
    review = Review(SlowStore(tmp_path), 100, metrics)
    start = time.perf_counter()
    for number in range(100):
        review.offer(candidate(number, 1.1))
    assert time.perf_counter() - start < 0.2
    dropped = gauge(metrics, "tinyunet_keep_failures_total") or 0
    assert dropped >= 90  # 1000 bytes hold 7 images
    review.close()


def test_ingest_takes_the_corrected_images_with_a_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review, base = tmp_path / "review", tmp_path / "part-7"
    keep(review, *(candidate(200 + number, 1 + number) for number in range(-2, 3)), limit=10)
    _write_base(base)
    manifest = ingest(f"{review}+{base}", tmp_path / "raw")
    assert (manifest.dataset, manifest.layout) == ("part-7", "joined")
    assert sum(counts.images for counts in manifest.splits.values()) == 12 + 5
    assert sum(counts.defective for counts in manifest.splits.values()) == 6 + 2
    assert "images/ beside masks/: 5 images, 5 masks" in capsys.readouterr().err


def _write_base(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(12):
        pixels = rng.integers(0, 255, (SIDE, SIDE), np.uint8)
        mask: NDArray[np.uint8] = np.zeros((SIDE, SIDE), np.uint8)
        mask[:2] = 255 * (number % 2)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")


def test_cvat_reads_the_masks_as_it_reads_its_format_segmentation_mask(tmp_path: Path) -> None:
    """The files as the page of the server says, read by Datumaro, which CVAT imports with."""
    from datumaro.components.dataset import Dataset

    review, cvat = tmp_path / "review", tmp_path / "cvat"
    keep(review, candidate(1, 1.5), candidate(2, 0.5))
    (cvat / "SegmentationClass").mkdir(parents=True)
    (cvat / "ImageSets" / "Segmentation").mkdir(parents=True)
    for mask in (review / "masks").iterdir():
        (cvat / "SegmentationClass" / mask.name).write_bytes(mask.read_bytes())
    names = sorted(path.stem for path in (review / "images").iterdir())
    (cvat / "ImageSets" / "Segmentation" / "default.txt").write_text("\n".join(names) + "\n")
    (cvat / "labelmap.txt").write_text("background:0,0,0::\ndefect:255,255,255::\n")
    dataset = Dataset.import_from(str(cvat), "voc_segmentation")
    labels = [label.name for label in dataset.categories()[next(iter(dataset.categories()))]]
    found = {
        item.id: [(labels[one.label], int(one.image.sum())) for one in item.annotations] for item in dataset
    }
    defective = next(row["key"] for row in table(review) if row["defective"] == "True")
    assert [shape for shape in found[defective] if shape[0] == "defect"] == [("defect", SIDE)]
    assert not any(
        shape[0] == "defect" for key, shapes in found.items() if key != defective for shape in shapes
    )


@pytest.mark.parametrize(
    ("text", "store", "limit"),
    [
        ("review", FolderStore(Path("review")), 200),
        ("review?most-uncertain=5", FolderStore(Path("review")), 5),
        ("s3://line/review/?most-uncertain=50", BucketStore("s3://line/review"), 50),
    ],
)
def test_the_option_names_a_place_and_a_number(text: str, store: object, limit: int) -> None:
    assert parse_keep(text) == (store, limit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?most-uncertain=5",
        "a?most-uncertain=0",
        "a?most-uncertain=many",
        "a?least=5",
        "ftp://a/b",
        "s3://",
    ],
)
def test_another_form_of_the_option_is_an_error_of_one_line(text: str) -> None:
    with pytest.raises(UserError, match="expected") as caught:
        parse_keep(text)
    assert "\n" not in str(caught.value)


def test_a_file_name_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    keep(tmp_path, replace(candidate(1, 1.1), name="=1+1.png"))
    assert [row["name"] for row in table(tmp_path)] == ["'=1+1.png"]
