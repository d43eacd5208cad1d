"""The command line with bad input: an error of one line, exit code 2, and no new files."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyunet.cli.main import main, parse
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.ingest import ingest

Prepare = Callable[["Inputs"], list[str]]
UNREACHABLE = "http://127.0.0.1:9"  # the discard port: no server listens


class Inputs:
    """Valid data that a case may change, and an output that must not be written."""

    def __init__(self, folder: Path, class1: Path, raw: Path, records: Path, model: Path) -> None:
        self.folder, self.class1, self.raw, self.records, self.model = folder, class1, raw, records, model
        self.out = folder / "out"

    def images(self) -> Path:
        """Copy the class; `image` and `mask` are its first defective image and the mask of this image."""
        source = self.folder / "Class1"
        shutil.copytree(self.class1, source)
        self.mask = sorted((source / "Train" / "Label").glob("*_label.PNG"))[0]
        self.image = source / "Train" / f"{self.mask.name[:4]}.PNG"
        return source

    def ingest(self, source: object) -> list[str]:
        return ["ingest", str(source), "--out", str(self.out)]

    def predict(self, photo: Path) -> list[str]:
        return ["predict", str(photo), "--model", str(self.model), "--out", str(self.out)]

    def evaluate(self) -> list[str]:
        return ["evaluate", str(self.model), str(self.records), "--out", str(self.out)]

    def train(self, *more: str, records: object = "") -> list[str]:
        return ["train", str(records or self.records), "--out", str(self.out), *more]


def changed(change: Callable[[Inputs], object]) -> Prepare:
    def prepare(inputs: Inputs) -> list[str]:
        source = inputs.images()
        change(inputs)
        return inputs.ingest(source)

    return prepare


def write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path, format="PNG")


def zipped(name: str, data: bytes) -> Prepare:
    def prepare(inputs: Inputs) -> list[str]:
        path = inputs.folder / "bad.zip"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, data)
        return inputs.ingest(path)

    return prepare


def occupied_folder(inputs: Inputs) -> list[str]:
    target = inputs.folder / "taken"
    target.mkdir()
    (target / "notes.txt").write_text("x")
    return ["train", str(inputs.records), "--out", str(target)]


def other_model(inputs: Inputs) -> list[str]:
    target = inputs.folder / "taken"
    target.mkdir()
    (target / "model.json").write_text('{"model": "resnet50"}')
    return ["train", str(inputs.records), "--out", str(target)]


def photo(pixels: np.ndarray) -> Prepare:
    def prepare(inputs: Inputs) -> list[str]:
        write(inputs.folder / "photo.PNG", pixels)
        return [
            "predict",
            str(inputs.folder / "photo.PNG"),
            "--model",
            str(inputs.model),
            "--out",
            str(inputs.out),
        ]

    return prepare


DARK = np.zeros((64, 64), np.uint8)
CASES: dict[str, tuple[Prepare, str]] = {
    "missing mask": (changed(lambda b: b.mask.unlink()), "_label.PNG"),
    "missing image": (changed(lambda b: b.image.unlink()), ".PNG"),
    "wrong size": (changed(lambda b: write(b.image, DARK[:32, :32])), "32"),
    "16-bit PNG": (changed(lambda b: write(b.image, DARK.astype(np.uint16))), "16"),
    "RGB": (changed(lambda b: write(b.image, np.zeros((64, 64, 3), np.uint8))), "expected"),
    "truncated PNG": (changed(lambda b: b.image.write_bytes(b.image.read_bytes()[:99])), ".PNG"),
    "mask with 128": (changed(lambda b: write(b.mask, DARK + 128)), "128"),
    "empty class": (changed(lambda b: shutil.rmtree(b.folder / "Class1" / "Train")), "Train"),
    "no labels": (changed(lambda b: (b.mask.parent / "Labels.txt").unlink()), "Labels.txt"),
    "no such folder": (lambda b: b.ingest(b.folder / "absent"), "does not exist"),
    "unknown scheme": (lambda b: b.ingest("ftp://host/file.zip"), "ftp"),
    "not a zip": (lambda b: b.ingest(b.model / "model.json"), "not a .zip"),
    "zip of something else": (zipped("holiday/photo.jpg", b"x"), "has no known layout"),
    "path traversal": (zipped("../../Class1/Train/0001.PNG", b"x"), ".."),
    "class 11": (lambda b: [*b.ingest("synthetic://"), "--class-id", "11"], "1 to 10"),
    "unreachable https": (lambda b: b.ingest("https://127.0.0.1:9/DAGM.zip"), "127.0.0.1"),
    "unreachable S3": (lambda b: b.ingest("s3://bucket/dagm"), "S3_ENDPOINT_URL"),
    "convert of nothing": (lambda b: ["convert", str(b.folder), "--out", str(b.out)], "expected"),
    "unknown data key": (
        lambda b: ["convert", str(b.raw), "--out", str(b.out), "--set", "shard=3"],
        "shard",
    ),
    "no records": (
        lambda b: b.train(records=b.folder / "absent"),
        "expected TFRecords (tinyunet convert), or",
    ),
    "unknown training key": (lambda b: b.train("--set", "learning_rat=1"), "learning_rat"),
    "setting without value": (lambda b: b.train("--set", "seed"), "KEY=VALUE"),
    "text for a number": (lambda b: b.train("--steps", "many"), "many"),
    "odd image size": (lambda b: b.train("--image-size", "100"), "multiple of 16"),
    "odd patch": (lambda b: b.train("--patch", "100"), "patch is 100; expected"),
    "unknown precision": (lambda b: b.train("--precision", "fp8"), "fp8"),
    "unknown preset": (lambda b: b.train("--preset", "slow"), "slow"),
    "preset as an option": (lambda b: b.train("--set", "preset=nvidia"), "give it as --preset"),
    "images smaller than the model": (
        lambda b: b.train("--image-size", "128", records="synthetic://?train=24&test=8&size=64"),
        "128",
    ),
    "no ranks": (lambda b: b.train("--ranks", "0"), "ranks is 0"),
    "ranks that do not divide": (lambda b: b.train("--ranks", "3"), "divisor"),
    "no such records": (lambda b: b.train(records=b.folder / "absent"), "absent"),
    "output folder with other files": (occupied_folder, "holds no model"),
    "model of another project": (other_model, "holds no complete model"),
    "folder without a model": (
        lambda b: ["evaluate", str(b.raw), str(b.records), "--out", str(b.out)],
        "model.keras",
    ),
    "unknown evaluation key": (
        lambda b: [*b.evaluate(), "--set", "poses=8"],
        "poses",
    ),
    "target that is no rate": (lambda b: [*b.evaluate(), "--target", "tnr=2"], "target is 'tnr=2'"),
    "cost of one error": (
        lambda b: [*b.evaluate(), "--cost", "miss=10"],
        "cost is 'miss=10'; expected miss=",
    ),
    "register without an evaluation": (
        lambda b: ["register", str(b.model), str(b.folder / "absent")],
        "absent",
    ),
    "no such image": (
        lambda b: b.predict(b.folder / "x.png"),
        "x.png",
    ),
    "no such model": (
        lambda b: ["predict", str(b.raw / "images" / "test"), "--model", "absent.keras", "--out", str(b.out)],
        "absent.keras",
    ),
}


@pytest.fixture
def inputs(tmp_path: Path, class1: Path, raw: Path, records: Path, model: Path) -> Inputs:
    return Inputs(tmp_path, class1, raw, records, model)


@pytest.fixture(autouse=True)
def empty_folder_and_unreachable_servers(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "unused")
    monkeypatch.setenv("S3_ENDPOINT_URL", UNREACHABLE)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", UNREACHABLE)


@pytest.mark.parametrize("case", list(CASES), ids=str)
def test_bad_input_is_one_line_and_exit_code_2_without_new_files(
    case: str, inputs: Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, words = CASES[case]
    command = prepare(inputs)
    before = sorted(inputs.folder.rglob("*"))
    assert main(command) == 2
    errors = capsys.readouterr().err.splitlines()
    messages = [line for line in errors if line.startswith("tinyunet: error: ")]
    assert len(messages) == 1, errors
    assert words in messages[0]
    assert "Traceback" not in "".join(errors)
    assert sorted(inputs.folder.rglob("*")) == before


def test_a_training_without_its_mlflow_server_is_one_line_and_its_process_leaves_no_files(
    inputs: Inputs, tmp_path: Path, python: str
) -> None:
    before = sorted(inputs.folder.rglob("*"))
    command = [python, "-m", "tinyunet", *inputs.train("--image-size", "32", "--steps", "1")]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (message,) = (line for line in done.stderr.splitlines() if line.startswith("tinyunet: error: "))
    assert "MLFLOW_TRACKING_URI is http://127.0.0.1:9" in message
    assert sorted(inputs.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["trian"], "invalid choice: 'trian'"),
        (["train", "records", "--out", "model", "--ranks", "two"], "--ranks: invalid int value: 'two'"),
        (["predict", "photo.png"], "required: --model, --out"),
    ],
)
def test_an_invalid_command_line_is_one_line(command: list[str], words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tinyunet", *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert words in line
    assert line.endswith("--help")


def test_without_a_command_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse([])
    assert exit_.value.code == 0
    assert re.search(r"\n +reproduce\s+train again", capsys.readouterr().out)


def test_convert_reads_the_category_from_the_description_of_the_images(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "records"
    ingest("synthetic://?train=24&test=4&size=32", raw, category="class2")
    assert main(["convert", str(raw), "--out", str(out)]) == 0
    assert RecordsManifest.read(out).category == "class2"


def test_a_missing_database_is_not_created_to_find_a_model(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    command = ["evaluate", "models:/unknown@champion", str(inputs.records), "--out", str(inputs.out)]
    assert main(command) == 2
    assert f"{inputs.folder}/runs/mlflow.db does not exist; expected" in capsys.readouterr().err
    assert not list(inputs.folder.iterdir())
