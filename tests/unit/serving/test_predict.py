"""Masks, overlays and the table of predictions."""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.errors import UserError
from tinyunet.evaluation.evaluate import evaluate
from tinyunet.serving import pictures
from tinyunet.serving.predict import predict


@pytest.fixture
def inputs(raw: Path, tmp_path: Path) -> Path:
    """A folder of three images."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("0001", "0002", "0003"):
        shutil.copy(raw / "images" / "test" / f"{name}.png", folder / f"{name}.PNG")
    return folder


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_writes_a_mask_an_overlay_and_a_row_of_every_image(
    model: Path, inputs: Path, tmp_path: Path
) -> None:
    counts = predict(model, [inputs], tmp_path / "out")
    rows = _rows(tmp_path / "out")
    assert counts == (3, sum(row["defective"] == "1" for row in rows))
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
    predict(model, [raw / "images" / "test"], tmp_path / "out", precision="float32")
    rows = {row["name"]: row for row in _rows(tmp_path / "out")}
    result = Evaluation.read(evaluation)
    for image in result.images:
        row = rows[image.name]
        assert float(row["score"]) == pytest.approx(image.score, abs=1e-3)
        assert abs(int(row["area"]) - image.tp - image.fp) <= 2
        assert row["defective"] == str(int(image.score > result.test.image_threshold))


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


def test_names_that_are_long_or_no_text_do_not_stop_the_others(
    model: Path, inputs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    longest = "a" * 243  # with _overlay.png, 255 bytes
    for name in (f"{longest}.png", f"{longest}-1.png", f"a{'ä' * 125}.png", "\udcff.png"):
        shutil.copy(inputs / "0001.PNG", folder / name)
    predict(model, [folder], tmp_path / "out")
    rows = _rows(tmp_path / "out")
    names = [longest, f"{'a' * 241}-2", f"a{'ä' * 121}", "\\udcff"]
    assert [row["name"] for row in rows] == names
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 4


def test_a_bad_file_is_named_and_the_others_are_predicted(
    model: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 64)).save(inputs / "0004.png")
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(inputs / "0005.png")
    (inputs / "0006.png").write_bytes((inputs / "0001.PNG").read_bytes()[:300])
    (inputs / "0007.png").write_text("not an image")
    with pytest.raises(UserError, match="3 of 7 files were skipped"):
        predict(model, [inputs], tmp_path / "out")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(inputs))]
    assert len(lines) == 3
    assert "0005.png is 16-bit grey, but the model was trained on images of 8 bits" in lines[0]
    assert [row["name"] for row in _rows(tmp_path / "out")] == ["0001", "0002", "0003", "0004"]


def test_no_file_is_written_when_no_image_can_be_read(model: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("not an image")
    with pytest.raises(UserError, match="none of 2 files"):
        predict(model, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_single_file_that_cannot_be_read_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.png"
    file.write_text("not an image")
    with pytest.raises(UserError, match=rf"^{file} .*; nothing was written$"):
        predict(model, [file], tmp_path / "out")
    assert str(file) not in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_images_of_several_sizes_are_predicted_in_one_run(model: Path, inputs: Path, tmp_path: Path) -> None:
    Image.new("L", (100, 80), 90).save(inputs / "0002b.png")
    predict(model, [inputs], tmp_path / "out")
    with Image.open(tmp_path / "out" / "0002b_mask.png") as mask:
        assert mask.size == (100, 80)
    assert [row["name"] for row in _rows(tmp_path / "out")] == ["0001", "0002", "0002b", "0003"]


def test_bmp_tiff_and_jpeg_images_are_predicted(model: Path, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "camera").mkdir()
    with Image.open(inputs / "0001.PNG") as image:
        for suffix in ("bmp", "TIF", "jpg"):
            image.save(tmp_path / "camera" / f"{suffix}.{suffix}")
    assert predict(model, [tmp_path / "camera"], tmp_path / "out")[0] == 3
    rows = _rows(tmp_path / "out")
    assert [row["name"] for row in rows] == ["TIF", "bmp", "jpg"]
    assert rows[0]["score"] == rows[1]["score"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.png", "missing.png does not exist"),
        ("empty", "holds no PNG"),
        ("out/0001.PNG", "is replaced"),
    ],
)
def test_bad_inputs_are_refused_before_the_prediction(
    model: Path, inputs: Path, tmp_path: Path, given: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "out").mkdir()
    shutil.copy(inputs / "0001.PNG", tmp_path / "out")
    with pytest.raises(UserError, match=message):
        predict(model, [tmp_path / given], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["0001.PNG"]


@pytest.mark.parametrize("out", ["file/out", "readonly/out"])
def test_an_output_folder_that_cannot_be_written_is_an_error_in_one_line(
    model: Path, inputs: Path, tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    mkdir = Path.mkdir

    def refuse(path: Path, *args: object, **kwargs: object) -> None:  # root has the right to write everywhere
        if path.name == "readonly":
            raise PermissionError(13, "Permission denied", str(path))
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        UserError, match=rf"{out[:4]}.*(Not a directory|Permission denied) while writing"
    ) as caught:
        predict(model, [inputs], tmp_path / out)
    assert "\n" not in str(caught.value)


def test_hidden_files_of_a_folder_are_ignored(model: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "._0001.PNG").write_bytes(b"\0\5\x16\7")  # a resource fork of macOS
    assert predict(model, [inputs], tmp_path / "out")[0] == 3


def _loop(path: Path) -> None:
    path.symlink_to(path)


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_predicted(
    model: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inputs / "a.png").symlink_to("absent")
    _loop(inputs / "b.png")
    (inputs / "c.png").mkdir()
    os.mkfifo(inputs / "d.png")
    (inputs / "e.png").symlink_to("/proc/self/mem")  # reading it is an I/O error
    with pytest.raises(UserError, match="6 of 9 files were skipped"):
        predict(model, [inputs, inputs / "b.png"], tmp_path / "out")  # b.png as of the shell's in/*
    assert len(_rows(tmp_path / "out")) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(inputs))]
    assert [line.removeprefix(f"{inputs}/") for line in lines] == [
        "a.png is a broken link (to absent), expected an image",
        "b.png is in a loop of links, expected an image",
        "c.png is a folder, expected an image",
        "d.png is not a regular file, expected an image",
        "e.png cannot be read (Input/output error)",
        "b.png is in a loop of links, expected an image",
    ]


def test_a_folder_with_the_suffix_of_an_image_can_be_an_input(
    model: Path, inputs: Path, tmp_path: Path
) -> None:
    (tmp_path / "more.png").mkdir()
    shutil.copy(inputs / "0001.PNG", tmp_path / "more.png")
    assert predict(model, [tmp_path / "more.png"], tmp_path / "out")[0] == 1


def test_the_images_of_a_batch_are_limited_and_at_most_one_is_opened_ahead(tmp_path: Path) -> None:
    for name, side in (("small", 10), ("large", 40)):
        Image.new("L", (side, side)).save(tmp_path / f"{name}.png")
    opened = 0

    def endless() -> Iterator[tuple[str, Path]]:
        nonlocal opened
        while True:
            for name in ("small", "small", "small", "large"):
                opened += 1
                yield name, tmp_path / f"{name}.png"

    groups = pictures.chunks(endless(), limit=250)
    names = [[name for name, _ in next(groups)] for _ in range(6)]
    assert names == [["small", "small"], ["small"], ["large"]] * 2
    assert opened == 9
    many = pictures.chunks((("small", tmp_path / "small.png") for _ in range(20)), limit=10**6)
    assert [len(group) for group in many] == [16, 4]


@pytest.mark.usefixtures("eager")
def test_a_model_that_was_evaluated_over_eight_poses_predicts_over_eight_poses(
    model: Path, records: Path, raw: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(model, tmp_path / "model")
    result = evaluate(copied, records, tmp_path / "evaluation", EvalConfig(test_time_poses=8, overlays=0))
    predict(copied, [raw / "images" / "test"], tmp_path / "out", precision="float32")
    rows = {row["name"]: row for row in _rows(tmp_path / "out")}
    for image in result.images:
        assert float(rows[image.name]["score"]) == pytest.approx(image.score, abs=1e-4)
        assert abs(int(rows[image.name]["area"]) - image.tp - image.fp) <= 2
