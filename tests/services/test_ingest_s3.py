"""Ingestion from S3; `test_source_s3` tests the forms of a location."""

from pathlib import Path

import pytest

from tests.conftest import SOURCE, Services
from tests.services.conftest import upload
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.data.synthetic.generator import generate, parse_source


@pytest.fixture(scope="module")
def bucket(services: Services, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A prefix with Class1, the images of `raw`, and a file of another class; no test changes it."""
    up, prefix = tmp_path_factory.mktemp("up"), "s3://tinyunet/ingest"
    generate(up / "Class1", 1, parse_source(SOURCE))
    (up / "Class2" / "Train").mkdir(parents=True)
    (up / "Class2" / "Train" / "0001.PNG").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.env.items():
            patch.setenv(name, value)
        upload(up, prefix)
    return prefix


def test_images_from_s3_give_the_same_dataset_as_from_this_machine(
    raw: Path, bucket: str, tmp_path: Path
) -> None:
    manifest = ingest(bucket, tmp_path / "out", category="class1")
    assert manifest.digest == RawManifest.read(raw).digest
    assert manifest.source == bucket
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in raw.iterdir()}


@pytest.mark.parametrize(
    ("below", "category", "message"),
    [
        ("/nothing", "class1", "/nothing holds no files"),
        ("", "class3", r"holds neither Class3, Class3\.zip nor Train and Test"),
        ("/Class1", "class2", "Class1 is Class1, but the category is class2"),
        ("/Class3.zip", "class3", r"Class3\.zip"),
        ("", "class2", "Class2/Train/Label/Labels.txt, Class2/Test/Label/Labels.txt: is missing"),
    ],
)
def test_a_missing_or_incomplete_class_is_refused_and_writes_nothing(
    bucket: str, tmp_path: Path, below: str, category: str, message: str
) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=message) as caught:
        ingest(bucket + below, tmp_path / "new" / "out", category=category)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before
