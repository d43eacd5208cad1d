"""The description of a model keeps what an older version wrote, and adds what is newer."""

import json
from pathlib import Path

import pytest

from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.errors import UserError
from tinyunet.core.presets import NVIDIA


def test_options_that_are_newer_than_the_file_get_the_presets_value(model: Path, tmp_path: Path) -> None:
    values = json.loads((model / "model.json").read_text())
    values["train"] = {"preset": "nvidia", "seed": 4, "an_option_of_the_future": 1}
    (tmp_path / "model.json").write_text(json.dumps(values))
    assert ModelDocument.read(tmp_path).train == NVIDIA.replace({"seed": 4})


def test_a_bad_option_is_one_line_with_the_file(model: Path, tmp_path: Path) -> None:
    values = json.loads((model / "model.json").read_text())
    values["train"]["steps"] = 0
    (tmp_path / "model.json").write_text(json.dumps(values))
    with pytest.raises(
        UserError, match=r"model\.json.*steps is 0; expected at least 1.*train the model again"
    ):
        ModelDocument.read(tmp_path)
