import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinyunet.core.documents.raw import RawFile
from tinyunet.core.errors import UserError
from tinyunet.core.files import scratch_folder
from tinyunet.data.ingest import content_digest, ingest


def test_the_description_names_every_file(raw: Path) -> None:
    manifest = json.loads((raw / "dataset.json").read_text())
    assert manifest["schema_version"] == 1
    assert (manifest["layout"], manifest["dataset"], manifest["category"]) == ("dagm", "dagm", "class1")
    assert manifest["synthetic"]
    assert not manifest["complete"]
    assert (manifest["image_shape"], manifest["channels"], manifest["bits"]) == ([64, 64], 1, 8)
    assert manifest["splits"] == {
        "train": {"images": 24, "defective": 8},
        "test": {"images": 16, "defective": 5},
    }
    for entry in manifest["files"]:
        assert entry["image"] == f"images/{entry['split']}/{entry['name']}.png"
        assert hashlib.sha256((raw / entry["image"]).read_bytes()).hexdigest() == entry["image_sha256"]
        assert (entry["mask"] is not None) == entry["defective"]
        if entry["mask"]:
            assert hashlib.sha256((raw / entry["mask"]).read_bytes()).hexdigest() == entry["mask_sha256"]


def test_the_digest_is_the_hash_of_the_sorted_lines() -> None:
    files = [
        RawFile(split="train", name="b", image_sha256="2", mask_sha256=None, defective=False),
        RawFile(split="test", name="a", image_sha256="1", mask_sha256="3", defective=True),
    ]
    # printf 'test a 1 3\ntrain b 2 None\n' | sha256sum
    expected = hashlib.sha256(b"test a 1 3\ntrain b 2 None\n").hexdigest()
    assert content_digest(files) == content_digest(files[::-1]) == expected


def test_ingesting_the_same_source_again_changes_nothing(
    class1: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = ingest(str(class1), out, category="class1")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert ingest(str(class1), out, category="class1") == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "already holds this data set" in capsys.readouterr().err


def test_ingesting_again_over_damaged_files_is_an_error(class1: Path, tmp_path: Path) -> None:
    ingest(str(class1), tmp_path / "out", category="class1")
    (tmp_path / "out" / "images" / "test" / "0003.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"test image 0003 .* has changed"):
        ingest(str(class1), tmp_path / "out", category="class1")


def test_files_that_are_not_data_are_reported_but_not_copied(class_zip: Path, tmp_path: Path) -> None:
    ingest(str(class_zip), tmp_path / "out", category="class1")
    assert not list((tmp_path / "out").rglob("Thumbs.db"))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["ignored"] == ["Class1/Train/Thumbs.db"]


def test_an_error_of_the_file_system_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="Not a directory while writing"):
        ingest("synthetic://?train=4&test=4&size=32", tmp_path / "file" / "out", category="class1")


def test_an_interrupted_block_leaves_no_files(tmp_path: Path) -> None:
    def interrupted() -> None:
        with scratch_folder(tmp_path / "new" / "out") as scratch:
            (scratch / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_no_files(tmp_path: Path) -> None:
    # A background shell starts its children with SIGINT ignored; a terminal does not.
    code = (
        "import signal, sys; from pathlib import Path; from tinyunet.data.ingest import ingest; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "ingest('synthetic://?train=3000', Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out.part/**/*.PNG")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.glob("out.part/**/*.PNG"))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text_is_shown_as_escapes_in_the_report(tmp_path: Path, class1: Path) -> None:
    source = tmp_path / "parts\udcff"
    for folder in ("images", "masks"):
        (source / folder).mkdir(parents=True)
    for number, label in enumerate(sorted((class1 / "Train" / "Label").glob("*.PNG"))):
        name = f"\udcff{number}.png"
        shutil.copy(class1 / "Train" / f"{label.name[:4]}.PNG", source / "images" / name)
        shutil.copy(label, source / "masks" / name)
    ingest(str(source), tmp_path / "out")
    assert "\\udcff" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
