"""What a user may see, and what may pass."""


class UserError(Exception):
    """Bad input or environment: shown as one line (value, expectation, remedy), exit code 2."""


class Unreachable(UserError):  # noqa: N818  a state of the world
    """A server that does not answer now; it may a moment later."""


def require(ok: bool, name: str, value: object, expected: str) -> None:
    """Raise a UserError that names the value and the expectation, unless `ok`."""
    if not ok:
        raise UserError(f"{name} is {value!r}; expected {expected}")
