"""Training from Python; the example of components/tinyunet/README.md trains, and is run as a test."""

from pathlib import Path

import pytest

import tinyunet
from tinyunet.core.errors import UserError


def test_ranks_that_do_not_divide_the_batch_are_refused_before_a_process_starts(
    records: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="ranks is 3; expected a divisor of the global batch 16"):
        tinyunet.train(records, tmp_path / "model", ranks=3)
    assert not (tmp_path / "model").exists()
