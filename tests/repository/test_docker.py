"""What docker/Dockerfile installs."""

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
optional-dependencies = {pipeline = [], horovod-build = []}
"""


def installs() -> list[list[str]]:
    """Words of every `pip install` of the Dockerfile, by uv or by pip itself."""
    lines = (ROOT / "docker/Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(found) for found in re.findall(r"pip install [^&\n]*", lines)]


def wheel(folder: Path) -> str:
    """Write a wheel of the package `demo`; give its SHA-256."""
    about = "demo-1.dist-info"
    files = {
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    path = folder / "demo-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_nothing_is_installed_without_a_hash_but_what_is_built_here() -> None:
    assert len(installs()) == 7
    assert all({"--require-hashes", "--no-deps"} & set(words) for words in installs())
    assert "-m pip install --quiet --require-hashes -r docker/tools.lock" in (ROOT / ".ci/setup").read_text()


@pytest.mark.parametrize("altered", [False, True])
def test_the_trainers_environment_takes_only_files_whose_hashes_stand_in_the_lock(
    tmp_path: Path, altered: bool
) -> None:
    digest = wheel(tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "requirements.lock").write_text(
        f"demo==1 --hash=sha256:{digest[::-1] if altered else digest}"
    )
    (words,) = (words for words in installs() if "requirements.lock" in words)
    words[words.index("--python") + 1] = sys.executable
    here = ["--no-index", "--find-links", ".", "--target", "installed"]
    command = [Path(sys.executable).with_name("uv"), *words, *here]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is altered, done.stderr
    assert ("Hash mismatch" in done.stderr) is altered
    assert (tmp_path / "installed/demo-1.dist-info").exists() is not altered


# Names the wheel it would build; builds it in half a second, and writes down that it did.
PYTHON = """\
#!/bin/sh
[ "$1" = -c ] && { echo horovod-1-cp311-tf2; exit; }
while [ "$1" != -w ]; do shift; done
echo built >>"$0.log"; sleep 0.5; : >"$2/horovod-1.whl"
"""


def test_of_two_setups_with_one_cache_one_builds_the_wheel_and_both_get_it(tmp_path: Path) -> None:
    for name, text in {"python": PYTHON, "mpicxx": "#!/bin/sh\n", "cmake": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", ROOT / "docker/horovod.sh", tmp_path / "python", tmp_path / "cache"]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {one.communicate()[0] for one in both}
    assert said == {f"{tmp_path}/cache/horovod-1-cp311-tf2/horovod-1.whl\n"}
    assert (tmp_path / "python.log").read_text() == "built\n"
