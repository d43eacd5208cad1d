"""The one exception that a user may see."""


class UserError(Exception):
    """Bad input or environment: shown as one line (value, expectation, remedy), exit code 2."""
