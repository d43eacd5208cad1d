"""What is said about a Keras model that serves as the source of an engine."""

import shutil
from pathlib import Path

import pytest

from tinyunet.serving.sources import find_source


def test_the_scale_of_a_file_without_its_description_is_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "alone"  # evaluations beside the folder of a file would describe it
    folder.mkdir()
    file = Path(shutil.copy(model / "model.keras", folder / "copy.keras"))
    assert find_source(file).scale == 1
    assert f"no model.json beside {file}: images are taken at scale 1\n" in capsys.readouterr().err
    find_source(model)
    assert "scale" not in capsys.readouterr().err
