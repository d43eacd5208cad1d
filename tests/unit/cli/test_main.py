"""The command line on bad input: one line that says what to do, exit code 2, nothing left behind."""

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

from tinyunet.__main__ import main
from tinyunet.cli.main import parse
from tinyunet.core.files import read_json
from tinyunet.data.ingest import ingest

Prepare = Callable[["Bench"], list[str]]
GONE = "http://127.0.0.1:9"  # the discard port: nothing listens


class Bench:
    """A folder to break things in: copies of good data, and an output that must stay absent."""

    def __init__(self, folder: Path, raw: Path, records: Path, model: Path) -> None:
        self.folder, self.raw, self.records, self.model = folder, raw, records, model
        self.out = folder / "out"

    def images(self) -> Path:
        """A copy of the class, and its first defective image's number is in `first`."""
        source = self.folder / "Class1"
        shutil.copytree(self.raw, source, ignore=shutil.ignore_patterns("*.json", "*.html"))
        self.mask = sorted((source / "Train" / "Label").glob("*_label.PNG"))[0]
        self.image = source / "Train" / f"{self.mask.name[:4]}.PNG"
        return source

    def ingest(self, source: object) -> list[str]:
        return ["ingest", str(source), "--out", str(self.out)]

    def predict(self, photo: Path) -> list[str]:
        return ["predict", str(photo), "--model", str(self.model), "--out", str(self.out)]

    def train(self, *more: str, records: object = "") -> list[str]:
        return ["train", str(records or self.records), "--out", str(self.out), *more]


def spoil(change: Callable[[Bench], object]) -> Prepare:
    def prepare(bench: Bench) -> list[str]:
        source = bench.images()
        change(bench)
        return bench.ingest(source)

    return prepare


def write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path, format="PNG")


def zipped(name: str, data: bytes) -> Prepare:
    def prepare(bench: Bench) -> list[str]:
        path = bench.folder / "bad.zip"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, data)
        return bench.ingest(path)

    return prepare


def file_at_out(bench: Bench) -> list[str]:
    target = bench.folder / "taken"
    target.mkdir()
    (target / "somebodys.txt").write_text("mine")
    return ["train", str(bench.records), "--out", str(target)]


def foreign_model(bench: Bench) -> list[str]:
    target = bench.folder / "taken"
    target.mkdir()
    (target / "model.json").write_text('{"model": "resnet50"}')
    return ["train", str(bench.records), "--out", str(target)]


def photo(pixels: np.ndarray) -> Prepare:
    def prepare(bench: Bench) -> list[str]:
        write(bench.folder / "photo.PNG", pixels)
        return [
            "predict",
            str(bench.folder / "photo.PNG"),
            "--model",
            str(bench.model),
            "--out",
            str(bench.out),
        ]

    return prepare


DARK = np.zeros((64, 64), np.uint8)
CASES: dict[str, tuple[Prepare, str]] = {
    "missing mask": (spoil(lambda b: b.mask.unlink()), "_label.PNG"),
    "missing image": (spoil(lambda b: b.image.unlink()), ".PNG"),
    "wrong size": (spoil(lambda b: write(b.image, DARK[:32, :32])), "32"),
    "16-bit PNG": (spoil(lambda b: write(b.image, DARK.astype(np.uint16))), "16"),
    "RGB": (spoil(lambda b: write(b.image, np.zeros((64, 64, 3), np.uint8))), "expected"),
    "truncated PNG": (spoil(lambda b: b.image.write_bytes(b.image.read_bytes()[:99])), ".PNG"),
    "mask with 128": (spoil(lambda b: write(b.mask, DARK + 128)), "128"),
    "empty class": (spoil(lambda b: shutil.rmtree(b.folder / "Class1" / "Train")), "Train"),
    "no labels": (spoil(lambda b: (b.mask.parent / "Labels.txt").unlink()), "Labels.txt"),
    "no such folder": (lambda b: b.ingest(b.folder / "nowhere"), "does not exist"),
    "unknown scheme": (lambda b: b.ingest("ftp://host/file.zip"), "ftp"),
    "not a zip": (lambda b: b.ingest(b.model / "model.json"), "not a .zip"),
    "zip of something else": (zipped("holiday/photo.jpg", b"x"), "Class1"),
    "path traversal": (zipped("../../Class1/Train/0001.PNG", b"x"), ".."),
    "class 11": (lambda b: [*b.ingest("synthetic://"), "--class-id", "11"], "1 to 10"),
    "unreachable https": (lambda b: b.ingest("https://127.0.0.1:9/DAGM.zip"), "127.0.0.1"),
    "unreachable S3": (lambda b: b.ingest("s3://bucket/dagm"), "S3_ENDPOINT_URL"),
    "convert of nothing": (lambda b: ["convert", str(b.folder), "--out", str(b.out)], "expected"),
    "convert of another class": (
        lambda b: ["convert", str(b.raw), "--out", str(b.out), "--set", "class_id=2"],
        "holds class 1, but class_id is 2; give class_id=1",
    ),
    "unknown data key": (
        lambda b: ["convert", str(b.raw), "--out", str(b.out), "--set", "shard=3"],
        "shard",
    ),
    "no records": (lambda b: b.train(records=b.folder / "gone"), "expected TFRecords (tinyunet convert), or"),
    "unknown training key": (lambda b: b.train("--set", "learning_rat=1"), "learning_rat"),
    "setting without value": (lambda b: b.train("--set", "seed"), "KEY=VALUE"),
    "text for a number": (lambda b: b.train("--steps", "many"), "many"),
    "odd image size": (lambda b: b.train("--image-size", "100"), "multiple of 16"),
    "unknown precision": (lambda b: b.train("--precision", "fp8"), "fp8"),
    "unknown preset": (lambda b: b.train("--preset", "slow"), "slow"),
    "preset as an option": (lambda b: b.train("--set", "preset=nvidia"), "give it as --preset"),
    "images smaller than the model": (
        lambda b: b.train("--image-size", "128", records="synthetic://?train=24&test=8&size=64"),
        "128",
    ),
    "no ranks": (lambda b: b.train("--ranks", "0"), "ranks is 0"),
    "ranks that do not divide": (lambda b: b.train("--ranks", "3"), "divisor"),
    "records that are none": (lambda b: b.train(records=b.folder / "nowhere"), "nowhere"),
    "unreachable MLflow": (
        lambda b: b.train("--image-size", "32", "--steps", "1"),
        "MLFLOW_TRACKING_URI is http://127.0.0.1:9",
    ),
    "output of somebody else": (file_at_out, "holds no model"),
    "model of another project": (foreign_model, "holds no whole model"),
    "model that is none": (
        lambda b: ["evaluate", str(b.raw), str(b.records), "--out", str(b.out)],
        "model.keras",
    ),
    "unknown judging key": (
        lambda b: ["evaluate", str(b.model), str(b.records), "--out", str(b.out), "--set", "poses=8"],
        "poses",
    ),
    "nothing to register": (lambda b: ["register", str(b.model), str(b.folder / "none")], "none"),
    "colour photo": (photo(np.zeros((64, 64, 3), np.uint8)), "8-bit grey"),
    "no photo": (
        lambda b: b.predict(b.folder / "x.png"),
        "x.png",
    ),
    "model of nowhere": (
        lambda b: ["predict", str(b.raw / "Test"), "--model", "nowhere.keras", "--out", str(b.out)],
        "nowhere.keras",
    ),
}


@pytest.fixture
def bench(tmp_path: Path, raw: Path, records: Path, model: Path) -> Bench:
    return Bench(tmp_path, raw, records, model)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody-in-particular")
    monkeypatch.setenv("S3_ENDPOINT_URL", GONE)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", GONE)


@pytest.mark.parametrize("case", list(CASES), ids=str)
def test_bad_input_is_one_line_and_exit_code_2_and_nothing_stays(
    case: str, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, named = CASES[case]
    command = prepare(bench)
    before = sorted(bench.folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["tinyunet", *command])
    assert main() == 2
    errors = capsys.readouterr().err.splitlines()
    said = [line for line in errors if line.startswith("tinyunet: error: ")]
    assert len(said) == 1, errors
    assert named in said[0]
    assert "Traceback" not in "".join(errors)
    assert sorted(bench.folder.rglob("*")) == before, "something was left behind"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["trian"], "invalid choice: 'trian'"),
        (["train", "records", "--out", "model", "--ranks", "two"], "--ranks: invalid int value: 'two'"),
        (["predict", "photo.png"], "required: --model, --out"),
    ],
)
def test_what_the_command_line_cannot_read_is_one_line(command: list[str], words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tinyunet", *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert words in line
    assert line.endswith("--help")


def test_without_a_command_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([])
    assert ended.value.code == 0
    assert re.search(r"\n +reproduce\s+train again", capsys.readouterr().out)


def test_convert_takes_the_class_from_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "records"
    ingest("synthetic://?train=24&test=4&size=32", raw, class_id=2)
    monkeypatch.setattr(sys, "argv", ["tinyunet", "convert", str(raw), "--out", str(out)])
    assert main() == 0
    assert read_json(out / "manifest.json")["class_id"] == 2


def test_a_model_is_not_looked_for_in_a_database_that_is_not_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    command = ["evaluate", "models:/nobody@champion", str(bench.records), "--out", str(bench.out)]
    monkeypatch.setattr(sys, "argv", ["tinyunet", *command])
    assert main() == 2
    assert f"{bench.folder}/runs/mlflow.db does not exist; expected" in capsys.readouterr().err
    assert not list(bench.folder.iterdir())
