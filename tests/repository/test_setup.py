"""The browser check of `.ci/setup --browser`; the PATH has only the programs that its first lines need."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tinyunet.devtools import doctor

ROOT = Path(__file__).parents[2]


def stub(path: Path, code: int = 0) -> None:
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for program in ("bash", "dirname", "sed", "tr"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    return tmp_path


def setup(programs: Path) -> list[str]:
    """Return the lines that setup itself writes until it fails for a missing program."""
    command, environment = [ROOT / ".ci/setup", "--browser"], {"PATH": str(programs), "HOME": str(programs)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode
    return [line for line in done.stderr.splitlines() if line.startswith("setup: ")]


def test_on_ubuntu_one_line_states_which_browser_to_install(programs: Path) -> None:
    stub(programs / "grep")  # finds Ubuntu in /etc/os-release
    (line,) = setup(programs)
    assert line.startswith("setup: none of chromium chromium-browser google-chrome found")
    assert "install Google Chrome" in line


@pytest.mark.parametrize("name", doctor.BROWSERS)
def test_setup_and_tests_accept_the_same_browsers(
    programs: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(programs / "grep")
    stub(programs / name)
    assert setup(programs) == []
    monkeypatch.setenv("PATH", str(programs))
    assert doctor.browser() == str(programs / name)
