"""DAGM2007 classes on a real MinIO, as every form of an S3 URI names them."""

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Services
from tests.services.conftest import upload
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest


@pytest.fixture(scope="module")
def bucket(services: Services, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A prefix with Class1, Class1.zip (also in `zips`), and a file of another class; no test changes it."""
    up, prefix = tmp_path_factory.mktemp("up"), "s3://tinyunet/ingest"
    for name in ("Train", "Test"):
        shutil.copytree(raw / name, up / "Class1" / name)
    (up / "Class2" / "Train").mkdir(parents=True)
    (up / "Class2" / "Train" / "0001.PNG").write_bytes(b"no image")
    with zipfile.ZipFile(up / "Class1.zip", "w") as file:
        for path in sorted(up.rglob("Class1/*/**/*.*")):
            file.write(path, path.relative_to(up))
    (up / "zips").mkdir()
    shutil.copy(up / "Class1.zip", up / "zips")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.env.items():
            patch.setenv(name, value)
        upload(up, prefix)
    return prefix


@pytest.mark.parametrize("below", ["", "/", "/Class1", "/Class1.zip", "/zips"])
def test_every_form_of_an_s3_uri_gives_the_same_dataset(
    raw: Path, bucket: str, tmp_path: Path, below: str
) -> None:
    manifest = ingest(bucket + below, tmp_path / "out", class_id=1)
    assert manifest.digest == RawManifest.read(raw).digest
    assert manifest.source == bucket + below
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"Train", "Test", "manifest.json", "report.json", "report.html"}


@pytest.mark.parametrize(
    ("below", "class_id", "message"),
    [
        ("/nothing", 1, "nothing holds 0 objects"),
        ("", 3, r"no Class3\.zip and none in Class3, Train or Test"),
        ("/Class1", 2, "Class1 is Class1, but class_id is 2"),
        ("/Class3.zip", 3, r"Class3\.zip"),
        ("", 2, "Train/0001.PNG|Labels.txt"),
    ],
)
def test_a_missing_or_incomplete_class_is_refused_and_writes_nothing(
    bucket: str, tmp_path: Path, below: str, class_id: int, message: str
) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=message) as caught:
        ingest(bucket + below, tmp_path / "new" / "out", class_id=class_id)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["class1", "CLASS1.ZIP"])
def test_names_in_lower_case_and_archives_of_another_kind_are_found_on_s3(
    raw: Path, prefix: str, tmp_path: Path, name: str
) -> None:
    for path in (p for split in ("Train", "Test") for p in (raw / split).rglob("*") if p.is_file()):
        target = tmp_path / "up" / "class1" / path.relative_to(raw).as_posix().lower()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    if name == "CLASS1.ZIP":
        shutil.make_archive(str(tmp_path / "class1"), "zip", tmp_path / "up")
        shutil.rmtree(tmp_path / "up" / "class1")
        (tmp_path / "class1.zip").rename(tmp_path / "up" / name)
    (tmp_path / "up" / "Class2.tar.gz").write_bytes(b"x")
    upload(tmp_path / "up", prefix)
    for n, source in enumerate((prefix, f"{prefix}/{name}")):
        assert ingest(source, tmp_path / f"out{n}", class_id=1).digest == RawManifest.read(raw).digest
    with pytest.raises(UserError, match=r"; Class2\.tar\.gz is a tar archive: unpack it, or repack it"):
        ingest(prefix, tmp_path / "out", class_id=2)
    with pytest.raises(UserError, match=r"/Class2\.tar\.gz is a tar archive; expected a folder"):
        ingest(f"{prefix}/Class2.tar.gz", tmp_path / "out", class_id=2)
