"""The Python packages that docker/Dockerfile installs, and the build of the Horovod wheel."""

import hashlib
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = """
[project]
name = "project"
version = "1"
dependencies = ["demo"]
optional-dependencies = {annotations = [], pipeline = [], horovod-build = []}
"""


def installs() -> list[list[str]]:
    """Return the words of every `pip install` in the Dockerfile, by uv or by pip itself."""
    text = (ROOT / "docker/Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(command) for command in re.findall(r"pip install [^&\n]*", text)]


def wheel(folder: Path) -> str:
    """Write a wheel of the package `demo`; return its SHA-256."""
    info = "demo-1.dist-info"
    files = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    path = folder / "demo-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_package_from_an_index_is_installed_with_its_hash() -> None:
    assert len(installs()) == 9
    assert all({"--require-hashes", "--no-deps"} & set(words) for words in installs())
    assert "-m pip install --quiet --require-hashes -r docker/tools.lock" in (ROOT / ".ci/setup").read_text()


@pytest.mark.parametrize("altered", [False, True])
def test_the_trainers_environment_accepts_only_files_with_the_hashes_of_the_lock(
    tmp_path: Path, altered: bool
) -> None:
    digest = wheel(tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "requirements.lock").write_text(
        f"demo==1 --hash=sha256:{digest[::-1] if altered else digest}"
    )
    (words,) = (words for words in installs() if "requirements.lock" in words)
    words[words.index("--python") + 1] = sys.executable
    offline = ["--no-index", "--find-links", ".", "--target", "installed"]
    command = [Path(sys.executable).with_name("uv"), *words, *offline]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is altered, done.stderr
    assert ("Hash mismatch" in done.stderr) is altered
    assert (tmp_path / "installed/demo-1.dist-info").exists() is not altered


# A fake python. With -c it prints the key of the wheel, else it writes a wheel (0.5 s) and a line of a log.
PYTHON = """\
#!/bin/sh
[ "$1" = -c ] && { echo horovod-1-cp311-tf2; exit; }
while [ "$1" != -w ]; do shift; done
echo built >>"$0.log"; sleep 0.5; : >"$2/horovod-1.whl"
"""


def test_two_setups_that_share_a_cache_build_the_wheel_once(tmp_path: Path) -> None:
    for name, text in {"python": PYTHON, "mpicxx": "#!/bin/sh\n", "cmake": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", ROOT / "docker/horovod.sh", tmp_path / "python", tmp_path / "cache"]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = {one.communicate()[0] for one in both}
    assert outputs == {f"{tmp_path}/cache/horovod-1-cp311-tf2/horovod-1.whl\n"}
    assert (tmp_path / "python.log").read_text() == "built\n"
