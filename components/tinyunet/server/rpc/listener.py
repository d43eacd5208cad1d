"""Listen for gRPC."""

from tinyunet.core.errors import UserError
from tinyunet.server.certificates import Certificate
from tinyunet.server.inspector import Station
from tinyunet.server.options import ServeOptions
from tinyunet.server.protocol.names import Untyped
from tinyunet.server.rpc.service import add_service

# gRPC holds the messages of all calls in memory before a call is seen.
MESSAGES_BYTES = 2 * 2**30
_OUTPUT_BYTES = 6  # per pixel: probability and mask, and some more


async def listen(station: Station, options: ServeOptions, certificate: Certificate | None) -> Untyped:
    """Start to listen; return the server of grpc.aio.

    Raises:
        UserError: if the port or the certificate cannot be used.
    """
    from grpc import aio  # type: ignore[import-untyped]

    calls = min(options.queue + 8, max(8, MESSAGES_BYTES // options.max_bytes))
    server = aio.server(
        maximum_concurrent_rpcs=calls,
        options=[
            ("grpc.max_receive_message_length", options.max_bytes),
            ("grpc.max_send_message_length", min(2**31 - 1, _OUTPUT_BYTES * options.max_pixels + 2**20)),
            ("grpc.max_concurrent_streams", calls),
            ("grpc.so_reuseport", 0),  # otherwise a second server shares the port silently
        ],
    )
    add_service(server, station)
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    try:
        if certificate:
            server.add_secure_port(address, _credentials(certificate))
        else:
            server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(
            f"gRPC cannot listen on {address}; choose another port (--grpc-port, 0 for none)"
        ) from error
    await server.start()
    return server


def _credentials(certificate: Certificate) -> Untyped:
    """Return credentials that read the files for every connection."""
    import grpc

    def configuration() -> Untyped:
        try:
            return grpc.ssl_server_certificate_configuration([certificate.pair()])
        except OSError:
            return None  # the last one stays

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration)
