"""The certificate of the server; a renewed one is used without a restart."""

import asyncio
import ssl
from pathlib import Path

from tinyunet.core.errors import UserError
from tinyunet.server.logs import LOG

LOOK_S = 10.0


class Certificate:
    """The PEM files of a certificate with its chain, and of its key.

    Raises:
        UserError: if they cannot be read, or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        try:
            self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._state = self._stat()
        except (OSError, ssl.SSLError) as error:
            raise UserError(
                f"--tls-certificate {certificate} and --tls-key {key} cannot be used "
                f"({error.strerror or error}); expected PEM files that belong together"
            ) from error

    def load(self, context: ssl.SSLContext) -> None:
        """Load the files into a context; its connections to come use them."""
        context.load_cert_chain(*self._files)

    def pair(self) -> tuple[bytes, bytes]:
        """Return the content of the key's file and of the certificate's file."""
        certificate, key = self._files
        return key.read_bytes(), certificate.read_bytes()

    async def follow(self, context: ssl.SSLContext) -> None:
        """Load the files into a context whenever they have changed and belong together; never returns."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                state = self._stat()
                if state != self._state:
                    self.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # an error leaves the context as it is
                    self.load(context)
                    self._state = state
                    LOG.info("the certificate was renewed")
            except (OSError, ssl.SSLError) as error:
                LOG.warning("the changed certificate cannot be used, the last one stays: %s", error)

    def _stat(self) -> tuple[tuple[int, int], ...]:
        return tuple((file.stat().st_mtime_ns, file.stat().st_ino) for file in self._files)
