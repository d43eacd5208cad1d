"""The options of the server."""

import socket
from dataclasses import dataclass
from pathlib import Path

from tinyunet.core.errors import UserError, require
from tinyunet.core.network import is_loopback

MEBIBYTE = 2**20


@dataclass(frozen=True)
class ServeOptions:
    """Where and within which limits the server answers.

    Attributes:
        host: Address to listen on.
        port: Port of HTTP; 0 is any free one.
        grpc_port: Port of gRPC; 0 is no gRPC.
        token_file: File with the bearer token that requests must have; None asks for none.
        open_metrics: Answer /metrics without a token, for a Prometheus that sends none.
        no_auth: Allow requests without a token at a host that other machines reach.
        tls_certificate: PEM file with the certificate and its chain.
        tls_key: PEM file with the key of the certificate.
        queue: Largest number of images that are decoded, waiting or computed at a time.
        max_batch: Largest number of images of a batch.
        max_pixels: Largest number of pixels of an image, and of all images at a time.
        max_bytes: Largest body of a request; all bodies at a time may have four times as many.
        max_connections: Largest number of connections of HTTP.
        read_timeout: Seconds in which a client must have sent the header of a request, and then its body.
        drain: Seconds after SIGTERM in which new requests are still answered, while the server reports that
            it is not ready, so that clients turn to others.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 8081
    token_file: Path | None = None
    open_metrics: bool = False
    no_auth: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    queue: int = 64
    max_batch: int = 8
    max_pixels: int = 2**26
    max_bytes: int = 64 * MEBIBYTE
    max_connections: int = 256
    read_timeout: float = 30.0
    drain: float = 1.0

    def __post_init__(self) -> None:
        for name in ("port", "grpc_port"):
            value = getattr(self, name)
            require(0 <= value < 65536, f"--{name.replace('_', '-')}", value, "a port, 0 to 65535")
        require(
            self.port == 0 or self.port != self.grpc_port,
            "--grpc-port",
            self.grpc_port,
            "another port than --port",
        )
        for name in ("queue", "max_batch", "max_pixels", "max_bytes", "max_connections"):
            value = getattr(self, name)
            require(value > 0, f"--{name.replace('_', '-')}", value, "a number above 0")
        require(self.read_timeout > 0, "--read-timeout", self.read_timeout, "seconds above 0")
        require(0 <= self.drain <= 3600, "--drain", self.drain, "0 to 3600 seconds")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise UserError("one of --tls-certificate and --tls-key is given; expected both or none")
        if not (self.token_file or self.no_auth or is_loopback(self.host)):
            resolve(self.host, self.port)
            raise UserError(
                f"--host is {self.host!r}, which other machines reach, without authentication; give a token "
                "(--token-file FILE), or --no-auth to let everybody in"
            )

    @property
    def tls(self) -> bool:
        """Whether the server encrypts."""
        return self.tls_certificate is not None


def resolve(host: str, port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    """Return the first address of a host, as `socket.getaddrinfo` does.

    Raises:
        UserError: if the host has no address.
    """
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]  # type: ignore[return-value]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no host name"
        raise UserError(
            f"--host {host!r} cannot be resolved ({reason}); expected an address or a name of this machine"
        ) from error
