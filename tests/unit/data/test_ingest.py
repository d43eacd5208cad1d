import base64
import functools
import hashlib
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError
from tinyunet.core.files import scratch_folder
from tinyunet.data import archive, sources
from tinyunet.data.ingest import content_digest, ingest
from tinyunet.data.report import bars


@pytest.fixture
def class_zip(raw: Path, tmp_path: Path) -> Path:
    """An archive as it is published: Class1/Train/…, with a stranger."""
    path = tmp_path / "Class1.zip"
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(p for name in ("Train", "Test") for p in (raw / name).rglob("*") if p.is_file()):
            file.write(source, f"Class1/{source.relative_to(raw)}")
        file.writestr("Class1/Train/Thumbs.db", b"x")
    return path


def _add(path: Path, name: str, data: bytes = b"x", *, mode: int = 0o100644, flags: int = 0) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, data)
    if flags:  # the writer cannot set the flag of an encrypted entry: patch the last central header
        content = bytearray(path.read_bytes())
        content[content.rindex(b"PK\x01\x02") + 8] |= flags
        path.write_bytes(content)


def test_a_folder_a_zip_and_a_nested_zip_give_the_same_digest_and_stay_synthetic(
    raw: Path, class_zip: Path, tmp_path: Path
) -> None:
    outer = tmp_path / "DAGM2007.zip"
    with zipfile.ZipFile(outer, "w") as file:
        file.write(class_zip, "dagm/Class1.zip")
    (tmp_path / "root").mkdir()
    for name in ("Train", "Test"):
        shutil.copytree(raw / name, tmp_path / "root" / "Class1" / name)
    manifests = [
        ingest(str(source), tmp_path / f"out{n}", class_id=1)
        for n, source in enumerate((raw, tmp_path / "root", class_zip, outer))
    ]
    assert {manifest.digest for manifest in manifests} == {RawManifest.read(raw).digest}
    assert all(manifest.synthetic for manifest in manifests)


@pytest.mark.parametrize("below", ["Class1", "Class1.zip", "Upload/Class1", "Upload/Class1.zip"])
def test_a_class_is_found_in_a_folder_and_one_folder_down(
    raw: Path, class_zip: Path, tmp_path: Path, below: str
) -> None:
    place = tmp_path / "DAGM2007" / below
    for name in ("Train", "Test"):
        shutil.copytree(raw / name, place.parent / "Class2" / name)
    if place.suffix:
        shutil.copy(class_zip, place)
    else:
        shutil.copytree(raw, place, ignore=shutil.ignore_patterns("*.json", "*.html"))
    shutil.copytree(raw / "Test", tmp_path / "DAGM2007" / "__MACOSX" / "Class1" / "Test")
    manifest = ingest(str(tmp_path / "DAGM2007"), tmp_path / "out", class_id=1)
    assert manifest.digest == RawManifest.read(raw).digest
    with pytest.raises(UserError, match=r"holds neither Class3, Class3\.zip nor Train and Test"):
        ingest(str(tmp_path / "DAGM2007"), tmp_path / "other", class_id=3)


def test_a_class_in_two_folders_is_refused(class_zip: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(class_zip, tmp_path / name)
    class_zip.unlink()
    with pytest.raises(UserError, match="holds Class1 in a and in b; give one of these folders"):
        ingest(str(tmp_path), tmp_path / "out" / "raw", class_id=1)


def test_a_bare_class_under_the_name_of_another_is_refused(raw: Path, tmp_path: Path) -> None:
    for name in ("Train", "Test"):
        shutil.copytree(raw / name, tmp_path / "Class3" / name)
    shutil.make_archive(str(tmp_path / "Class3"), "zip", tmp_path / "Class3")
    for source in (tmp_path / "Class3", tmp_path / "Class3.zip"):
        with pytest.raises(UserError, match="is Class3, but class_id is 2; give the other class_id"):
            ingest(str(source), tmp_path / "out", class_id=2)
    ingest(str(tmp_path / "Class3.zip"), tmp_path / "out", class_id=3)


def test_the_manifest_describes_every_file(raw: Path) -> None:
    manifest = json.loads((raw / "manifest.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["class_id"] == 1
    assert manifest["synthetic"]
    assert not manifest["complete"]
    assert manifest["image_shape"] == [64, 64]
    assert manifest["splits"] == {
        "train": {"images": 24, "defective": 8},
        "test": {"images": 16, "defective": 5},
    }
    for entry in manifest["files"]:
        folder = raw / {"train": "Train", "test": "Test"}[entry["split"]]
        data = (folder / f"{entry['name']}.PNG").read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["image_sha256"]
        assert (entry["mask_sha256"] is not None) == entry["defective"]


def test_the_digest_is_the_hash_of_the_sorted_lines() -> None:
    files = [
        RawFile(split="train", name="b", image_sha256="2", mask_sha256=None, defective=False),
        RawFile(split="test", name="a", image_sha256="1", mask_sha256="3", defective=True),
    ]
    # printf 'test a 1 3\ntrain b 2 None\n' | sha256sum
    expected = hashlib.sha256(b"test a 1 3\ntrain b 2 None\n").hexdigest()
    assert content_digest(files) == content_digest(files[::-1]) == expected


def test_ingesting_the_same_again_does_nothing(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = ingest(str(raw), out, class_id=1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert ingest(str(raw), out, class_id=1) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "already holds this dataset" in capsys.readouterr().err


def test_ingesting_again_over_damaged_files_is_refused(raw: Path, tmp_path: Path) -> None:
    ingest(str(raw), tmp_path / "out", class_id=1)
    (tmp_path / "out" / "Test" / "0003.PNG").write_bytes(b"")
    with pytest.raises(UserError, match=r"test image 0003 .* has changed"):
        ingest(str(raw), tmp_path / "out", class_id=1)


@pytest.fixture
def web(class_zip: Path) -> Iterator[str]:
    """A web server on this machine that offers the archive."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(class_zip.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_gives_the_same_dataset_and_its_archive_does_not_stay(
    raw: Path, web: str, tmp_path: Path
) -> None:
    manifest = ingest(f"{web}/Class1.zip?token=secret", tmp_path / "out", class_id=1)
    assert manifest.digest == RawManifest.read(raw).digest
    assert manifest.source == f"{web}/Class1.zip"
    assert "secret" not in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "Train", "Test", "manifest.json", "report.json", "report.html",
    }  # fmt: skip


def test_a_download_that_fails_leaves_nothing(web: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404"):
        ingest(f"{web}/Class2.zip", tmp_path / "out", class_id=2)
    assert [p.name for p in tmp_path.iterdir()] == ["Class1.zip"]


def test_strangers_do_not_come_along(class_zip: Path, tmp_path: Path) -> None:
    ingest(str(class_zip), tmp_path / "out", class_id=1)
    assert not list((tmp_path / "out").rglob("Thumbs.db"))
    assert json.loads((tmp_path / "out" / "report.json").read_text())["ignored"] == ["Train/Thumbs.db"]


def test_files_of_a_read_only_source_can_be_removed(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "Train", tmp_path / "in" / "Train")
    shutil.copytree(raw / "Test", tmp_path / "in" / "Test")
    for path in (tmp_path / "in").rglob("*"):
        path.chmod(0o555)
    ingest(str(tmp_path / "in"), tmp_path / "out", class_id=1)
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize(
    ("name", "mode", "flags", "reason"),
    [
        ("../evil.PNG", 0o100644, 0, "leads out of the folder"),
        ("Class1/Train/../../../evil.PNG", 0o100644, 0, "leads out of the folder"),
        ("Class1\\..\\evil.PNG", 0o100644, 0, "leads out of the folder"),
        ("/tmp/evil.PNG", 0o100644, 0, "has an absolute path"),
        ("C:\\evil.PNG", 0o100644, 0, "has an absolute path"),
        ("Class1/Train/link.PNG", 0o120777, 0, "is a link or a special file"),
        ("Class1/Train/pipe.PNG", 0o010644, 0, "is a link or a special file"),
        ("Class1/Train/secret.PNG", 0o100644, 1, "is encrypted"),
    ],
)
def test_a_dangerous_entry_is_refused_before_anything_is_unpacked(
    class_zip: Path, tmp_path: Path, name: str, mode: int, flags: int, reason: str
) -> None:
    _add(class_zip, name, mode=mode, flags=flags)
    part = tmp_path / "part"
    part.mkdir()
    with pytest.raises(UserError, match=reason):
        archive.unpack(class_zip, part, 1)
    assert not list(part.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"Class1.zip", "part"}


def test_a_decompression_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Class1/Train/0001.PNG", bytes(20_000_000))
    with pytest.raises(UserError, match="would unpack 1 files of 20000000 bytes"):
        ingest(str(path), tmp_path / "out", class_id=1)
    assert [p.name for p in tmp_path.iterdir()] == ["bomb.zip"]


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Class1/Train/0001.PNG", bytes(20_000_000))
    content, real = path.read_bytes(), (20_000_000).to_bytes(4, "little")
    path.write_bytes(content.replace(real, (1000).to_bytes(4, "little")))
    with pytest.raises(UserError, match="not a whole"):
        ingest(str(path), tmp_path / "out", class_id=1)
    assert [p.name for p in tmp_path.iterdir()] == ["liar.zip"]


def test_too_many_entries_and_doubles_are_refused(class_zip: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        _add(class_zip, "Class1/Train/Thumbs.db")
    with pytest.raises(UserError, match=r"holds 'Class1/Train/Thumbs.db' twice"):
        ingest(str(class_zip), tmp_path / "out", class_id=1)


@pytest.mark.parametrize("class_id", [0, 11])
def test_a_class_that_does_not_exist_is_refused(tmp_path: Path, class_id: int) -> None:
    with pytest.raises(UserError, match=f"class_id is {class_id}; expected 1 to 10"):
        ingest("synthetic://", tmp_path / "out", class_id=class_id)


def test_the_wrong_class_in_a_zip_is_refused(class_zip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold Class2/Train or Test"):
        ingest(str(class_zip), tmp_path / "out", class_id=2)


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_truncated_zip_is_refused(class_zip: Path, tmp_path: Path, cut: int) -> None:
    class_zip.write_bytes(class_zip.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"Class1\.zip is not a whole \.zip"):
        ingest(str(class_zip), tmp_path / "out", class_id=1)
    assert [p.name for p in tmp_path.iterdir()] == ["Class1.zip"]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("/does/not/exist", "/does/not/exist does not exist; expected a folder"),
        ("ftp://me:pw@host/Class1.zip", "ftp://***@host/Class1.zip is a ftp URL"),
        (__file__, "is a file, but not a .zip"),
        (str(Path(__file__).parent), "holds neither Class1, Class1.zip nor Train and Test"),
    ],
)
def test_a_source_that_is_none_is_refused(source: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(named)):
        ingest(source, tmp_path / "out", class_id=1)
    assert not list(tmp_path.iterdir())


def test_another_dataset_is_not_overwritten(raw: Path, tmp_path: Path) -> None:
    ingest("synthetic://?train=4&test=4&size=32", tmp_path / "out", class_id=2)
    with pytest.raises(UserError, match="out holds other content"):
        ingest(str(raw), tmp_path / "out", class_id=1)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["class_id"] == 2


def test_a_folder_of_something_else_is_not_overwritten(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("dear")
    with pytest.raises(UserError, match="out exists and is no output of this command"):
        ingest(str(raw), tmp_path / "out", class_id=1)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "dear"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_output_folder_is_used(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    ingest(str(raw), tmp_path / "out", class_id=1)
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_an_interrupted_block_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with scratch_folder(tmp_path / "new" / "out") as part:
            (part / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_refusal_of_the_file_system_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="Not a directory while making"):
        ingest("synthetic://?train=4&test=4&size=32", tmp_path / "file" / "out", class_id=1)


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    # A background shell starts its children with SIGINT ignored; a terminal does not.
    code = (
        "import signal, sys; from pathlib import Path; from tinyunet.data.ingest import ingest; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "ingest('synthetic://?train=3000', Path(sys.argv[1]), class_id=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out.part/*/*.PNG")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.glob("out.part/*/*.PNG"))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    assert not list(tmp_path.iterdir())


def test_secrets_of_a_url_stay_out_of_the_manifest() -> None:
    assert sources.without_credentials("https://me:pw@host/a.zip?token=s#x") == "https://host/a.zip"
    assert sources.without_credentials("s3://bucket/prefix") == "s3://bucket/prefix"
    assert sources.without_credentials("synthetic://?train=4") == "synthetic://?train=4"


def test_the_report_page_stands_alone(raw: Path) -> None:
    page = (raw / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "No problems found." in page
    assert "The images are generated" in page
    assert page.count("data:image/png;base64,") == 14  # 3 × (image, mask) and 1 image of either split
    first = re.search(r"data:image/png;base64,([^\"]+)", page)
    assert first
    assert base64.b64decode(first[1]).startswith(b"\x89PNG")


def test_names_of_files_cannot_inject_markup_into_the_page(raw: Path, tmp_path: Path) -> None:
    for name in ("Train", "Test"):
        shutil.copytree(raw / name, tmp_path / "in" / name)
    (tmp_path / "in" / "Train" / "<script>.txt").write_text("x")
    ingest(str(tmp_path / "in"), tmp_path / "out", class_id=1)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "&lt;script&gt;.txt" in page
    assert "<script>" not in page


def test_bars_of_the_histogram_are_counts() -> None:
    found = bars([1.0, 1.5, 12.0])  # twelve bins of one percent
    assert [bar["count"] for bar in found] == [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert [bar["height"] for bar in found][1::10] == [1.0, 0.5]
    assert found[1]["low"] == pytest.approx(1)
    assert bars([]) == []


def test_the_json_report_says_what_the_page_says(raw: Path) -> None:
    report = json.loads((raw / "report.json").read_text())
    assert report["valid"]
    assert report["official"]["train"] == {"images": 575, "defective": 79}
    assert len(report["mask_pixels"]) == 13
