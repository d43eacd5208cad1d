"""Kept images on S3: bounded, continued by another server, corrected, and trained on with a data set."""

from pathlib import Path

import numpy as np
import pytest

from tests.services.conftest import upload
from tests.unit.data.ingestion.test_joined import png, write_pairs
from tests.unit.server.watching.test_review import SIDE, WAIT_S, candidate, gauge
from tinyunet.data.ingest import ingest
from tinyunet.server.metrics import Metrics
from tinyunet.server.watching.review import Review
from tinyunet.server.watching.store import parse_keep
from tinyunet.storage import s3


def review_of(uri: str, metrics: Metrics) -> Review:
    return Review(*parse_keep(f"{uri}?most-uncertain=3"), metrics)


def test_images_are_kept_on_s3_and_join_a_data_set_after_correction(prefix: str, tmp_path: Path) -> None:
    uri, base = f"{prefix}/review", f"{prefix}/part-7"
    first = review_of(uri, Metrics())
    for number, score in enumerate((1.5, 3.0, 9.0, 0.9)):
        first.offer(candidate(number, score))
        assert first.wait(WAIT_S)
    first.close()
    assert len(s3.list_objects(f"{uri}/images")) == len(s3.list_objects(f"{uri}/masks")) == 3
    masks = s3.list_objects(f"{uri}/masks")
    corrected = np.zeros((SIDE, SIDE), np.uint8)
    corrected[:4] = 255
    s3.write_bytes(masks[0], png(corrected))
    metrics = Metrics()
    second = review_of(uri, metrics)
    for number, score in ((5, 1.1), (6, 1.2), (7, 1.3)):  # all are less certain than the first three
        second.offer(candidate(number, score))
        assert second.wait(WAIT_S)
    second.close()
    assert gauge(metrics, "tinyunet_kept_images", reason="uncertain") == 3
    assert masks[0] in s3.list_objects(f"{uri}/masks")
    upload(write_pairs(tmp_path / "part-7", 8, seed=1), base)
    kept = len(s3.list_objects(f"{uri}/masks"))
    manifest = ingest(f"{uri}+{base}", tmp_path / "raw")
    assert (manifest.dataset, manifest.source) == ("part-7", f"{uri}+{base}")
    assert len(manifest.files) == 8 + kept
    name = masks[0].rsplit("/", 1)[1].removesuffix(".png")
    assert next(file for file in manifest.files if file.name == name).defective


def test_a_store_that_does_not_answer_is_logged_in_one_line_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    metrics = Metrics()
    review = review_of("s3://tinyunet/nowhere", metrics)
    for number in range(2):
        review.offer(candidate(number, 1.1))
    assert review.wait(60)
    review.close()
    lines = [one.message for one in caplog.records if one.name == "tinyunet.server"]
    assert len(lines) == 1
    assert "s3://tinyunet/nowhere" in lines[0]
    assert "\n" not in lines[0]
    assert gauge(metrics, "tinyunet_keep_failures_total") == 2
