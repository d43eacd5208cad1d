"""The options of `ingest`."""

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.ingestion.options import name_of


def test_only_dagm2007_has_its_name() -> None:
    assert name_of("/data/x", "dagm", "") == "dagm"
    assert name_of("/data/x", "dagm", "mine") == "mine"
    assert name_of("/data/dagm", "pairs", "") == "dagm-images"
    with pytest.raises(UserError, match="name is 'dagm'; expected another name"):
        name_of("/data/x", "pairs", "dagm")
