"""The generated images are as the studies say, and memory is measured and limited."""

import sys

import numpy as np
import pytest
from scipy import ndimage

from tests.studies.memory import GIB, run_limited
from tests.studies.pictures import Sample, coarse, list_samples, scratched

USE_300_MB = "import time; data = bytearray(300 << 20); time.sleep(0.5)"


def test_a_scratch_has_at_most_twelve_pixels_and_hardly_changes_the_mean_of_a_block() -> None:
    image, mask = scratched(Sample("train", 1, True), side=256)
    clean, empty = scratched(Sample("train", 1, False), side=256)
    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    assert np.bincount(numbers.ravel())[1:].max() <= 12
    assert count == 8
    assert not empty.any()
    difference = image.astype(int) - clean
    assert np.abs(difference).max() > 50
    assert np.abs(difference.reshape(64, 4, 64, 4).mean(axis=(1, 3))).max() < 20


def test_images_of_one_number_are_equal_and_of_others_differ() -> None:
    first, again, other = (coarse(Sample("train", number, True))[0] for number in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_share_of_the_images_of_every_split_is_clean() -> None:
    samples = list_samples(train=24, test=16)
    clean = [sample.split for sample in samples if not sample.defective]
    assert (clean.count("train"), clean.count("test")) == (8, 6)
    assert sum(sample.defective for sample in list_samples(80, 10, 10, clean_every=-10)) == 10


def test_the_memory_of_a_process_is_measured() -> None:
    run = run_limited([sys.executable, "-c", USE_300_MB + "; print('end')"])
    assert 0.25 * GIB < run.processes[0].anonymous <= run.processes[0].resident < GIB
    assert run.first("end") is not None


def test_a_process_above_the_limit_is_ended() -> None:
    command = [sys.executable, "-c", f"import time; time.sleep(0.5); {USE_300_MB}"]
    if not run_limited([sys.executable, "-c", "import time; time.sleep(0.5)"]).processes[0].limited:
        # Without the permission to make cgroups, the studies measure, and say that nothing was limited.
        assert not run_limited(command, GIB // 8).processes[0].limited
        return
    with pytest.raises(SystemExit, match="ended with -9"):
        run_limited(command, GIB // 8)
