"""The study of corrected images: what is drawn, the table, and the whole study on a tiny class."""

import json
from pathlib import Path

import numpy as np
import pytest

from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.studies.review import MODELS, SCORES, Study, draw, format_table, main, run_study, stream

FILES = [
    RawFile(split="train", name=str(i), image_sha256="", mask_sha256=None, defective=i < 25)
    for i in range(100)
]


def test_the_first_images_have_the_fraction_of_defects_of_all() -> None:
    for seed in range(5):
        drawn = draw(FILES, 20, np.random.default_rng(seed))
        assert len({file.name for file in drawn}) == 20
        assert sum(file.defective for file in drawn) == 5
    assert sum(file.defective for file in draw(FILES, 4, np.random.default_rng(0))) == 3


def test_the_stream_has_all_clean_images_and_the_given_percentage_of_defective_ones() -> None:
    orders = [stream(FILES, 10, np.random.default_rng(seed)) for seed in range(5)]
    for files in orders:
        assert len({file.name for file in files if not file.defective}) == 75
        assert sum(file.defective for file in files) == 8  # 75 × 10 / 90
    assert orders[0] != orders[1]


def test_the_table_shows_the_mean_and_every_seed() -> None:
    scores = (dict.fromkeys(SCORES, 0.5 + seed / 10) for seed in range(2))
    results = [dict.fromkeys(MODELS, result) for result in scores]
    assert format_table(results).splitlines()[2] == "| first |" + " 0.550 (0.500, 0.600) |" * 3


def test_too_few_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 8 images to train on; expected at least 70"):
        run_study(Study(tmp_path), "synthetic://?train=8&test=4&size=32", IngestOptions())


def test_the_study_keeps_trains_and_scores(tmp_path: Path, trainings_here: None) -> None:
    options = ["--seeds", "1", "--patch", "32", "--steps", "2", "--first", "12", "--kept", "3"]
    source = "synthetic://?train=24&test=8&size=32&seed=7"
    main([source, "--category", "class1", "--out", str(tmp_path), *options])
    (result,) = json.loads((tmp_path / "review.json").read_text())
    assert result.keys() == set(MODELS)
    folder = tmp_path / "seed0"
    sizes = {name: RawManifest.read(folder / name / "raw").splits for name in MODELS}
    assert {name: splits["train"].images for name, splits in sizes.items()} == {
        "first": 12,
        "random": 15,
        "chosen": 15,
    }
    assert {splits["test"].images for splits in sizes.values()} == {8}
    kept = [json.loads(path.read_text()) for path in (folder / "chosen" / "review" / "records").iterdir()]
    assert len(kept) == 3
    assert (tmp_path / "review.md").is_file()
