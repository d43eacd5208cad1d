"""An exported model, for all tests of this folder."""

from pathlib import Path

import keras
import pytest

from tinyunet.serving.export import export
from tinyunet.serving.loading import load_serving


@pytest.fixture(scope="package")
def exported(model: Path, evaluation: Path, records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `export` writes with records."""
    out = tmp_path_factory.mktemp("exported") / "formats"
    export(model, out, records)
    return out


@pytest.fixture(scope="package")
def serving(model: Path, evaluation: Path) -> keras.Model:
    """The served model in Keras, at the operating point of its evaluation."""
    return load_serving(model)
