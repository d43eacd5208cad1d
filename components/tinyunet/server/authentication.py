"""The bearer token that requests must have."""

import hmac
from pathlib import Path

from tinyunet.core.errors import UserError

MIN_LENGTH = 16


class TokenFile:
    """A token in a file; the file is read again when it changes, as a mounted Secret does.

    Args:
        file: Holds the token; white space around it does not count.

    Raises:
        UserError: if the file cannot be read, or its token is shorter than MIN_LENGTH.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state, self._token = self._read()

    def accepts(self, authorization: str) -> bool:
        """Return whether the value of the header Authorization is `Bearer` and the token.

        The comparison takes the same time for every token of the same length.
        """
        self._refresh()
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._token)
        return same and scheme.lower() == "bearer"

    def _refresh(self) -> None:
        """Read the file again if it has changed; if that fails, the last token stays valid."""
        try:
            if self._stat() != self._state:
                self._state, self._token = self._read()
        except (OSError, UserError):
            return

    def _stat(self) -> tuple[int, int, int]:
        status = self._file.stat()
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _read(self) -> tuple[tuple[int, int, int], bytes]:
        try:
            state, token = self._stat(), self._file.read_bytes().strip()
        except OSError as error:
            raise UserError(f"--token-file {self._file} cannot be read: {error.strerror}") from error
        if len(token) < MIN_LENGTH or len(token.split()) != 1:
            raise UserError(
                f"--token-file {self._file} holds {len(token)} characters; expected one word of at least "
                f"{MIN_LENGTH}, for example from: openssl rand -hex 32"
            )
        return state, token
