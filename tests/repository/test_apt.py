"""Every call of apt-get waits for another one on the same machine instead of failing."""

import re

from tests.repository.documents import ROOT

WAITS = "-o DPkg::Lock::Timeout=600"


def test_every_call_of_a_dockerfile_waits_for_the_lock() -> None:
    text = (ROOT / "docker/Dockerfile").read_text()
    calls = re.findall(r"apt-get ((?:-o \S+ )?)(update|install) ", text)
    assert len(calls) == 2 * text.count("RUN apt-get") > 0
    assert {options.strip() for options, _ in calls} == {WAITS}


def test_the_scripts_wait_for_the_lock() -> None:
    """They call apt-get only through these definitions."""
    setup, machine = ((ROOT / name).read_text() for name in (".ci/setup", "tests/cluster/machine.py"))
    assert f"local apt=(apt-get {WAITS})" in setup
    assert not re.search(r"apt-get (update|install -y)", setup)
    option, value = WAITS.split()
    assert f'APT = ("apt-get", "{option}", "{value}")' in machine
    assert machine.count('"apt-get"') == 2, "the definition, and the search for the program"
