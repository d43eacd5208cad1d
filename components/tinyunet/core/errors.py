"""Exceptions that end a command with one line instead of a traceback."""


class CommandError(Exception):
    """An error that is shown as one line.

    Attributes:
        exit_code: Exit code of the command that the error ends.
    """

    exit_code = 1


class UserError(CommandError):
    """Bad input or a bad environment; the message names the value, what was expected and what to do."""

    exit_code = 2


class Unreachable(UserError):  # noqa: N818  describes the state of a server
    """A server that does not answer at the moment; a later call may succeed."""


def require(ok: bool, name: str, value: object, expected: str) -> None:
    """Raise a UserError that names the value and the expectation, unless `ok`."""
    if not ok:
        raise UserError(f"{name} is {value!r}; expected {expected}")
