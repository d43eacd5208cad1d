"""Fixtures that many tests share: one tiny synthetic class, raw and as records."""

from pathlib import Path

import pytest

from tinyunet.config import DataConfig

SIZE = 64
SOURCE = f"synthetic://?train=24&test=16&size={SIZE}&seed=7"


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class 1 as `ingest` leaves it: Train 24 (8 defective), Test 16 (5 defective), 64×64."""
    from tinyunet.data.ingest import ingest

    out = tmp_path_factory.mktemp("data") / "raw"
    ingest(SOURCE, out, class_id=1)
    return out


@pytest.fixture(scope="session")
def records(raw: Path) -> Path:
    """The same after `convert`: train 21 (7 defective), validation 3 (1), test 16 (5); 2 shards each."""
    from tinyunet.data.tfrecord import convert

    out = raw.with_name("records")
    convert(raw, out, DataConfig(shards=2))
    return out
