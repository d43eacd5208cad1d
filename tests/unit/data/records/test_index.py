import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.canonical import make_records, random_parts
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.records.index import index_path, load_index

SHAPES = [(5, 7), (4, 4), (9, 3), (6, 6), (5, 5), (4, 8), (3, 3), (2, 9)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RecordsManifest]:
    return make_records(tmp_path_factory.mktemp("index"), random_parts(SHAPES))


@pytest.fixture
def shard(made: tuple[Path, RecordsManifest], tmp_path: Path) -> Path:
    """A copy of the first shard of train and of its index."""
    source = made[0] / made[1].splits["train"].shards[0].file
    (tmp_path / source.name).write_bytes(source.read_bytes())
    index_path(tmp_path / source.name).write_bytes(index_path(source).read_bytes())
    return tmp_path / source.name


def _load(shard: Path, made: tuple[Path, RecordsManifest]) -> object:
    return load_index(shard.parent, made[1].splits["train"].shards[0], made[1])


def test_the_index_of_convert_is_what_a_scan_of_the_shard_finds(
    shard: Path, made: tuple[Path, RecordsManifest]
) -> None:
    written = _load(shard, made)
    index_path(shard).unlink()
    assert _load(shard, made) == written


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "0" * 64}, {"names": []}, {"images": [10**9] * 3}, {"masks": [-1] * 3}, {"types": 0}],
)
def test_an_index_that_does_not_fit_is_replaced_by_a_scan(
    shard: Path, made: tuple[Path, RecordsManifest], changes: dict[str, object]
) -> None:
    expected = _load(shard, made)
    values = json.loads(index_path(shard).read_text()) | changes
    index_path(shard).write_text(json.dumps(values))
    assert _load(shard, made) == expected
    index_path(shard).write_text("{")
    assert _load(shard, made) == expected


@pytest.mark.parametrize("length", [5, 40, 100])
def test_the_scan_of_a_truncated_shard_is_an_error(
    shard: Path, made: tuple[Path, RecordsManifest], length: int
) -> None:
    index_path(shard).unlink()
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(UserError, match=f"{shard.name} is damaged .*convert again"):
        _load(shard, made)


def test_records_with_other_channels_than_the_manifest_are_an_error(
    shard: Path, made: tuple[Path, RecordsManifest]
) -> None:
    index_path(shard).unlink()
    manifest = made[1].model_copy(update={"channels": 3})
    with pytest.raises(UserError, match="has 1 channels of 8 bits, not 3 of 8"):
        load_index(shard.parent, manifest.splits["train"].shards[0], manifest)


def test_the_pixels_of_an_image_begin_at_its_position(
    shard: Path, made: tuple[Path, RecordsManifest]
) -> None:
    index = load_index(shard.parent, made[1].splits["train"].shards[0], made[1])
    image = next(part.image for part in random_parts(SHAPES) if part.name == index.names[1])
    data = shard.read_bytes()[index.images[1] :][: image.size]
    np.testing.assert_array_equal(np.frombuffer(data, np.uint8).reshape(image.shape), image)


def test_an_index_of_an_earlier_version_is_read_with_its_keys_that_nothing_uses(
    shard: Path, made: tuple[Path, RecordsManifest]
) -> None:
    values = json.loads(index_path(shard).read_text())
    names = [f"read {name}" for name in values["names"]]
    old = values | {"names": names, "offsets": [0] * len(names), "lengths": [1] * len(names)}
    index_path(shard).write_text(json.dumps(old))
    assert list(load_index(shard.parent, made[1].splits["train"].shards[0], made[1]).names) == names
