import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.conftest import copy_class
from tinyunet.core.config import DataConfig
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.data.ingest import ingest
from tinyunet.data.tfrecord import Record, convert, parse, serialize

CONFIG = DataConfig(shards=2)


def _make_record() -> Record:
    image = np.arange(15, dtype=np.uint8).reshape(3, 5)
    mask = np.zeros((3, 5), np.uint8)
    mask[0, 0] = mask[1, 2] = mask[2, 4] = 255
    return Record("0576", image, mask, True)


def test_a_serialized_record_is_parsed_unchanged() -> None:
    record = _make_record()
    parsed = parse(serialize(record))
    np.testing.assert_array_equal(parsed.image, record.image)
    np.testing.assert_array_equal(parsed.mask, record.mask)
    assert (parsed.name, parsed.defective) == ("0576", True)


def test_masks_are_stored_as_bits_and_images_as_bytes() -> None:
    import tensorflow as tf

    feature = tf.train.Example.FromString(serialize(_make_record())).features.feature
    # Pixels 0, 7 and 14 of 15: 10000001 00000010.
    assert feature["mask"].bytes_list.value[0] == bytes([0b10000001, 0b00000010])
    assert feature["image"].bytes_list.value[0] == bytes(range(15))
    assert feature["name"].bytes_list.value[0] == b"0576"
    assert [feature[k].int64_list.value[0] for k in ("defective", "height", "width")] == [1, 3, 5]


def test_a_record_without_a_feature_is_an_error() -> None:
    import tensorflow as tf

    example = tf.train.Example.FromString(serialize(_make_record()))
    del example.features.feature["mask"]
    with pytest.raises(ValueError, match="missing"):
        parse(example.SerializeToString())


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_input_gives_the_same_bytes(raw: Path, records: Path, tmp_path: Path) -> None:
    convert(raw, tmp_path / "out", CONFIG)
    assert _hashes(tmp_path / "out") == _hashes(records)


def test_the_manifest_describes_every_shard(raw: Path, records: Path) -> None:
    manifest = RecordsManifest.read(records)
    assert manifest.schema_version == 1
    assert manifest.source_digest == RawManifest.read(raw).digest
    assert (manifest.class_id, manifest.complete, manifest.synthetic) == (1, False, True)
    assert manifest.image_shape == (64, 64)
    assert (manifest.validation_fraction, manifest.fold) == (0.15, 0)
    files = []
    for split, (images, defective) in {"train": (21, 7), "validation": (3, 1), "test": (16, 5)}.items():
        entry = manifest.splits[split]
        assert (entry.images, entry.defective) == (images, defective)
        assert [shard.images for shard in entry.shards] == [images // 2, images - images // 2]
        for shard in entry.shards:
            data = (records / shard.file).read_bytes()
            assert len(data) == shard.bytes
            assert hashlib.sha256(data).hexdigest() == shard.sha256
            files.append(shard.file)
    assert sorted(files) == sorted(path.name for path in records.glob("*.tfrecord"))
    assert files[0] == "train-00000-of-00002.tfrecord"


def test_the_digest_of_a_split_is_the_hash_of_names_and_pixels(raw: Path, records: Path) -> None:
    from PIL import Image

    digest = hashlib.sha256()
    for path in sorted((raw / "Test").glob("*.PNG")):
        mask = raw / "Test" / "Label" / f"{path.stem}_label.PNG"
        digest.update(path.stem.encode() + b"\0" + Image.open(path).tobytes())
        digest.update(Image.open(mask).tobytes() if mask.exists() else bytes(64 * 64))
    assert RecordsManifest.read(records).splits["test"].digest == digest.hexdigest()


def test_another_fold_changes_validation_but_not_test(raw: Path, records: Path, tmp_path: Path) -> None:
    other = convert(raw, tmp_path / "out", DataConfig(shards=3, fold=1))
    first = RecordsManifest.read(records)
    assert other.splits["test"].digest == first.splits["test"].digest
    assert other.splits["validation"].digest != first.splits["validation"].digest
    assert other.digest != first.digest


def test_there_are_no_more_shards_than_images(raw: Path, tmp_path: Path) -> None:
    manifest = convert(raw, tmp_path / "out", DataConfig(shards=50))
    assert [shard.images for shard in manifest.splits["validation"].shards] == [1, 1, 1]


def test_converting_again_changes_nothing(
    raw: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in records.iterdir()}
    assert convert(raw, records, CONFIG) == RecordsManifest.read(records)
    assert {path: path.stat().st_mtime_ns for path in records.iterdir()} == before
    assert "already holds these records" in capsys.readouterr().err
    assert not records.with_name("records.part").exists()


def test_other_records_are_not_overwritten(raw: Path, records: Path) -> None:
    before = _hashes(records)
    with pytest.raises(UserError, match="records holds other content"):
        convert(raw, records, DataConfig(shards=2, fold=1))
    assert _hashes(records) == before


def test_converting_again_over_a_damaged_shard_is_an_error(raw: Path, records: Path, tmp_path: Path) -> None:
    shutil.copytree(records, tmp_path / "out")
    shard = tmp_path / "out" / "test-00001-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"test-00001-of-00002\.tfrecord has changed"):
        convert(raw, tmp_path / "out", CONFIG)


def test_an_image_that_changed_after_ingest_is_an_error_and_no_files_are_left(
    raw: Path, tmp_path: Path
) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copy(raw / "Test" / "0001.PNG", tmp_path / "raw" / "Test" / "0002.PNG")
    with pytest.raises(UserError, match=r"Test/0002\.PNG has changed since it was ingested"):
        convert(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_mask_that_changed_after_ingest_is_an_error(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    first, second, *_ = sorted((tmp_path / "raw" / "Test" / "Label").glob("*_label.PNG"))
    shutil.copy(second, first)
    with pytest.raises(UserError, match=f"Label/{first.name} has changed since it was ingested"):
        convert(tmp_path / "raw", tmp_path / "out", CONFIG)


def test_a_folder_that_was_not_ingested_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.json; expected a folder that `tinyunet ingest` wrote"):
        convert(tmp_path, tmp_path / "out", CONFIG)


def test_records_are_not_read_as_ingested_images_nor_images_as_records(
    raw: Path, records: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="files is missing; expected a file that `tinyunet ingest`"):
        convert(records, tmp_path / "out", CONFIG)
    with pytest.raises(UserError, match="source_digest is missing; expected a file that `tinyunet convert`"):
        RecordsManifest.read(raw)


def test_another_class_is_an_error(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds class 1, but class_id is 2"):
        convert(raw, tmp_path / "out", DataConfig(class_id=2))


def test_a_class_too_small_for_validation_is_an_error(tmp_path: Path) -> None:
    ingest("synthetic://?train=4&test=4&size=32", tmp_path / "raw", class_id=1)
    with pytest.raises(UserError, match="Train has 1 defective images, too few"):
        convert(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_image_and_its_copy_are_in_the_same_split(raw: Path, records: Path, tmp_path: Path) -> None:
    validation = load_split(records, "validation", 64)
    clean = validation.names[int(np.flatnonzero(~validation.defective)[0])]
    source = copy_class(raw, tmp_path / "source" / "Class1")
    with Image.open(source / "Train" / f"{clean}.PNG") as image:  # the same pixels in another file
        image.save(source / "Train" / "0900.PNG", compress_level=0)
    labels = source / "Train" / "Label" / "Labels.txt"
    labels.write_text(labels.read_text().rstrip() + "\n900\t0\t0900.PNG\t0\t0\n")
    ingest(str(source.parent), tmp_path / "raw", class_id=1)
    convert(tmp_path / "raw", tmp_path / "records", CONFIG)
    names = load_split(tmp_path / "records", "validation", 64).names
    assert {clean, "0900"} <= set(names)
    assert not {clean, "0900"} & set(load_split(tmp_path / "records", "train", 64).names)
