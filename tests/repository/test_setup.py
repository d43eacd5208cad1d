"""What `.ci/setup --browser` asks for; here nothing but the programs of its first lines is on the PATH."""

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
    """Lines that setup itself writes, until it misses a program."""
    command, environment = [ROOT / ".ci/setup", "--browser"], {"PATH": str(programs), "HOME": str(programs)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode
    return [line for line in done.stderr.splitlines() if line.startswith("setup: ")]


def test_where_chromium_is_a_snap_only_one_line_says_what_to_install(programs: Path) -> None:
    stub(programs / "grep")  # finds Ubuntu in /etc/os-release
    (line,) = setup(programs)
    assert line.startswith("setup: none of chromium chromium-browser google-chrome found")
    assert "install Google Chrome" in line


@pytest.mark.parametrize("name", doctor.BROWSERS)
def test_a_browser_is_enough_for_setup_and_for_the_tests_alike(
    programs: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(programs / "grep")
    stub(programs / name)
    assert setup(programs) == []
    monkeypatch.setenv("PATH", str(programs))
    assert doctor.browser() == str(programs / name)
