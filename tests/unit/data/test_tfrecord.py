import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.canonical import make_records, random_parts, write_dataset
from tinyunet.core.config import DataConfig
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.data.ingest import ingest
from tinyunet.data.records.index import read_entry
from tinyunet.data.tfrecord import Record, convert, serialize

CONFIG = DataConfig(shards=2)
DIGEST = "a4980e338efa76dcbd3a11989754297cb4513c46e27bb148bda51a8879dcc055"  # of `records`, by version 0.1.0


def _make_record() -> Record:
    image = np.arange(15, dtype=np.uint8).reshape(3, 5)
    mask = np.zeros((3, 5), np.uint8)
    mask[0, 0] = mask[1, 2] = mask[2, 4] = 255
    return Record("0576", image, mask, True)


def test_masks_are_stored_as_bits_and_images_as_bytes() -> None:
    import tensorflow as tf

    feature = tf.train.Example.FromString(serialize(_make_record())).features.feature
    # Pixels 0, 7 and 14 of 15: 10000001 00000010.
    assert feature["mask"].bytes_list.value[0] == bytes([0b10000001, 0b00000010])
    assert feature["image"].bytes_list.value[0] == bytes(range(15))
    assert feature["name"].bytes_list.value[0] == b"0576"
    assert [feature[k].int64_list.value[0] for k in ("defective", "height", "width")] == [1, 3, 5]


def test_an_8_bit_grey_image_without_type_has_only_the_features_of_dagm2007() -> None:
    import tensorflow as tf

    record = _make_record()
    features = tf.train.Example.FromString(serialize(record)).features.feature
    assert sorted(features) == ["defective", "height", "image", "mask", "name", "width"]
    deep = np.repeat(record.image[..., None], 3, 2).astype(np.uint16) + 256
    features = tf.train.Example.FromString(
        serialize(Record("1", deep, record.mask, True, "scratch"))
    ).features.feature
    assert [features[k].int64_list.value[0] for k in ("channels", "bits", "height", "width")] == [3, 16, 3, 5]
    assert features["type"].bytes_list.value[0] == b"scratch"
    assert features["image"].bytes_list.value[0][:8] == bytes([0, 1, 0, 1, 0, 1, 1, 1])  # little-endian


def test_a_record_without_a_feature_is_an_error() -> None:
    import tensorflow as tf

    example = tf.train.Example.FromString(serialize(_make_record()))
    del example.features.feature["mask"]
    data = example.SerializeToString()
    with pytest.raises(ValueError, match="mask are missing"):
        read_entry(data, 0, len(data))


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_input_gives_the_same_bytes(raw: Path, records: Path, tmp_path: Path) -> None:
    convert(raw, tmp_path / "out", CONFIG)
    assert _hashes(tmp_path / "out") == _hashes(records)


def test_the_records_are_those_of_version_0_1_0(records: Path) -> None:
    assert RecordsManifest.read(records).digest == DIGEST


def test_the_manifest_describes_every_shard(raw: Path, records: Path) -> None:
    manifest = RecordsManifest.read(records)
    assert manifest.schema_version == 1
    assert manifest.source_digest == RawManifest.read(raw).digest
    assert (manifest.dataset, manifest.category) == ("dagm", "class1")
    assert (manifest.complete, manifest.synthetic) == (False, True)
    assert (manifest.image_shape, manifest.uniform) == ((64, 64), True)
    assert (manifest.channels, manifest.bits, manifest.types) == (1, 8, ())
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
    for path in sorted((raw / "images" / "test").glob("*.png")):
        mask = raw / "masks" / "test" / path.name
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


def test_records_hold_the_digests_of_their_images_also_if_they_were_converted_before(
    raw: Path, records: Path, tmp_path: Path
) -> None:
    old = tmp_path / "records"
    shutil.copytree(records, old)
    (old / "sources.json").unlink()  # as in records of earlier versions
    convert(raw, old, CONFIG)
    for folder in (records, old):
        assert RawManifest.parse((folder / "sources.json").read_bytes(), "x") == RawManifest.read(raw)


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


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_file_that_changed_after_ingest_is_an_error_and_no_files_are_left(
    raw: Path, tmp_path: Path, kind: str
) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    first, second, *_ = sorted((tmp_path / "raw" / kind / "test").iterdir())
    shutil.copy(first, second)
    with pytest.raises(UserError, match=f"{kind}/test/{second.name} has changed since it was ingested"):
        convert(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_image_with_other_bits_than_the_data_set_is_an_error(tmp_path: Path) -> None:
    raw = write_dataset(tmp_path / "raw", random_parts([(4, 4)] * 8), bits=16)
    with pytest.raises(UserError, match=r"train/00\d\.png has 8 bits, but the data set has 16; ingest"):
        convert(raw, tmp_path / "out", CONFIG)


def test_the_statistics_of_the_manifest_are_those_of_the_training_images(records: Path) -> None:
    pixels = np.stack(list(load_split(records, "train", 0).images))
    known = RecordsManifest.read(records).statistics
    assert known is not None
    assert (known.mean, known.deviation) == pytest.approx((pixels.mean(), pixels.std()))


def test_a_folder_that_was_not_ingested_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no dataset\.json; expected a folder that `tinyunet ingest` wrote"):
        convert(tmp_path, tmp_path / "out", CONFIG)


def test_records_are_not_read_as_ingested_images_nor_images_as_records(
    raw: Path, records: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"tinyunet ingest`|ingest again"):
        convert(records, tmp_path / "out", CONFIG)
    with pytest.raises(UserError, match=r"no manifest\.json; expected a folder that `tinyunet convert`"):
        RecordsManifest.read(raw)


def test_a_class_too_small_for_validation_is_an_error(tmp_path: Path) -> None:
    ingest("synthetic://?train=4&test=4&size=32", tmp_path / "raw", category="class1")
    with pytest.raises(UserError, match="Train has 1 defective images, too few"):
        convert(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_image_and_its_copy_are_in_the_same_split(tmp_path: Path) -> None:
    parts = random_parts([(4, 4)] * 12)
    image = parts[0].image
    copies = [replace(parts[0], name=name, image=image) for name in ("100", "101")]
    records, _ = make_records(tmp_path, parts + copies)
    splits = [set(load_split(records, split, 0).names) for split in ("train", "validation")]
    assert sum({"000", "100", "101"} <= names for names in splits) == 1
    assert not splits[0] & splits[1]


def test_the_validation_images_of_a_data_set_are_used(tmp_path: Path) -> None:
    parts = random_parts([(4, 4)] * 4) + random_parts([(4, 4)] * 2, split="validation", first=50)
    records, manifest = make_records(tmp_path, parts)
    assert load_split(records, "train", 0).names == ("000", "001", "002", "003")
    assert load_split(records, "validation", 0).names == ("050", "051")
    assert (manifest.validation_fraction, manifest.splits["test"].images) == (0.0, 0)
    with pytest.raises(UserError, match="fold is 1, but the data set has its own validation images"):
        convert(tmp_path / "raw", tmp_path / "other", DataConfig(fold=1))
