"""The engine and the prediction work without TensorFlow and MLflow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import tinyunet.engine

PROGRAM = """
import sys
from pathlib import Path
from tinyunet.cli.main import parse
for name in {modules}:
    __import__(name)
arguments = parse(["predict", {image!r}, "--model", {model!r}, "--out", {out!r}])
arguments.run(arguments)
heavy = ("tensorflow", "keras", "mlflow", "matplotlib", "sklearn", "onnx", "sqlalchemy", "minio", "pandas")
print(sorted(name for name in heavy if name in sys.modules))
"""


def test_a_prediction_imports_no_heavy_package(engine_folder: Path, tmp_path: Path) -> None:
    modules = [f"tinyunet.engine.{path.stem}" for path in Path(tinyunet.engine.__path__[0]).glob("[a-z]*.py")]
    assert len(modules) > 5
    Image.fromarray(np.full((32, 32), 200, np.uint8)).save(tmp_path / "one.png")
    program = PROGRAM.format(
        modules=modules, image=str(tmp_path / "one.png"), model=str(engine_folder), out=str(tmp_path / "out")
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "out" / "one_mask.png").is_file()
