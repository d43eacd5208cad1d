"""Values of make variables as arguments of a program."""

import subprocess
import sys

import pytest

from tinyunet.core.errors import UserError
from tinyunet.devtools.arguments import expand


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        ("--source=V", "a b\n'c' $(d)", ["--source=a b\n'c' $(d)"]),
        ("--source=V", "", ["--source="]),
        ("--host=V?", "", []),
        ("--host=V?", "https://x/?a=b", ["--host=https://x/?a=b"]),
        ("--set=V*", "a=1 'b=c d'\ne=\"f\"", ["--set=a=1", "--set=b=c d", "--set=e=f"]),
        ("V*", " --x  y#z ", ["--x", "y#z"]),
        ("V*", "", []),
        ("V", "", [""]),
        ("ABSENT*", "other", []),
    ],
)
def test_a_value_becomes_one_argument_or_one_argument_per_word(
    spec: str, value: str, expected: list[str]
) -> None:
    assert expand([spec], {"V": value}) == expected


def test_a_quotation_mark_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(UserError, match=r"SET is .*; expected words in which every quotation mark is closed"):
        expand(["--set=SET*"], {"SET": "loss='x"})


def test_the_program_replaces_the_process_and_an_error_is_one_line() -> None:
    command = [sys.executable, "-m", "tinyunet.devtools.arguments", "V*", "--", sys.executable, "-c"]
    program = "import sys; sys.exit(len(sys.argv))"
    done = subprocess.run([*command, program], env={"V": "'a b' c"}, check=False)
    assert done.returncode == 3
    done = subprocess.run([*command, program], env={"V": "'"}, check=False, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
