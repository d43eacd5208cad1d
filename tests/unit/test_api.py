"""The functions of the package: they are imported when they are first used."""

import subprocess
import sys

import pytest

import tinyunet
from tinyunet.data.ingest import ingest
from tinyunet.data.tfrecord import convert
from tinyunet.evaluation.evaluate import evaluate
from tinyunet.launch.train import train
from tinyunet.registry.register import register
from tinyunet.serving.predict import predict

HEAVY = {"tensorflow", "mlflow", "pydantic", "numpy", "minio", "matplotlib"}


def test_each_name_is_the_function_that_its_module_defines() -> None:
    assert tinyunet.ingest is ingest
    assert tinyunet.convert is convert
    assert tinyunet.train is train
    assert tinyunet.evaluate is evaluate
    assert tinyunet.register is register
    assert tinyunet.predict is predict


def test_the_names_are_listed() -> None:
    assert set(tinyunet.__all__) == {"ingest", "convert", "train", "evaluate", "register", "predict"}
    assert {*tinyunet.__all__, "__version__"} <= set(dir(tinyunet))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tinyunet' has no attribute 'tune'"):
        tinyunet.__getattr__("tune")


def test_the_import_loads_no_heavy_package() -> None:
    code = f"import sys, tinyunet; print(sorted({HEAVY} & sys.modules.keys()))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
