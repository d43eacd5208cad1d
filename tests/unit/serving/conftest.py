"""An exported model, for all tests of this folder, and a cache of their own."""

from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

from tinyunet.serving.export import export
from tinyunet.serving.loading import load_serving


@pytest.fixture(scope="package", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines are converted once for all tests, and not in the cache of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYUNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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
