"""The command `serve` before it serves."""

import subprocess
import sys
from pathlib import Path

import pytest

from tinyunet.cli import serving
from tinyunet.cli.main import main, parse
from tinyunet.server.options import ServeOptions


def test_the_defaults_are_those_of_the_options() -> None:
    arguments = parse(["serve", "models:/part-7@champion"])
    assert {name: getattr(arguments, name) for name in vars(ServeOptions())} == vars(ServeOptions())
    assert (arguments.model, arguments.version, arguments.keep) == ("models:/part-7@champion", "", "")
    assert parse(["serve", "--port=8090"]).model is None, "make serve without MODEL"


def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "EXTRA", ("kserve", "no_such_package"))
    assert main(["serve", "model"]) == 2
    error = capsys.readouterr().err
    assert error == "tinyunet: error: no_such_package cannot be imported; pip install 'tinyunet[serve]'\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_a_model_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    done = run("-m", "tinyunet", "serve", str(tmp_path / "none"), "--port", "0", "--grpc-port", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("tinyunet: error: ")
    assert str(tmp_path / "none") in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_server_imports_neither_tensorflow_nor_mlflow() -> None:
    program = (
        "import sys, tinyunet.server.lifecycle, tinyunet.server.rpc.listener, tinyunet.server.following\n"
        "from tinyunet.server.protocol.names import kserve_module\n"
        "kserve_module('protocol.infer_type')\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'matplotlib', 'sklearn', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = run("-c", program)
    assert (done.stdout, done.returncode) == ("[]\n", 0)
