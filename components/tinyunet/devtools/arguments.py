"""Run a program with the values of make variables as its arguments.

`python -m tinyunet.devtools.arguments --source=DATA '--host=HOST?' '--set=SET*' 'ARGS*' -- PROGRAM …`

make exports its variables, and this module reads them from the environment. Neither make nor a shell
interprets a value, so that a value may contain any characters.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence

from tinyunet.core.errors import UserError


def expand(specs: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the arguments that the specifications describe.

    Args:
        specs: `--option=NAME` is the option with the value of the variable, even if the value is empty.
            `--option=NAME?` is omitted if the value is empty. `--option=NAME*` repeats the option for each
            word of the value. Without `--option=`, the value or its words become arguments as they are.
            Quotation marks and backslashes join words as in a shell.
        environment: The variables; one that is not set is empty.

    Raises:
        UserError: if a quotation mark in a value of several words is not closed.
    """
    arguments = []
    for spec in specs:
        option, equals, variable = spec.rpartition("=")
        name = variable.rstrip("?*")
        value = environment.get(name, "")
        if variable.endswith("*"):
            values = _words(name, value)
        else:
            values = [value] if value or not variable.endswith("?") else []
        arguments += [f"{option}{equals}{item}" for item in values]
    return arguments


def _words(name: str, value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise UserError(
            f"{name} is {value!r}; expected words in which every quotation mark is closed ({error})"
        ) from error


def main(argv: Sequence[str]) -> None:
    """Replace this process by the program with its arguments; print one line if a value is invalid."""
    split = argv.index("--")
    try:
        program = [*argv[split + 1 :], *expand(argv[:split], os.environ)]
    except UserError as error:
        print(f"tinyunet: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    os.execvp(program[0], program)  # noqa: S606  no shell reads the values


if __name__ == "__main__":
    main(sys.argv[1:])
