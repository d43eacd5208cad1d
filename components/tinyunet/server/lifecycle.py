"""Run the server: from the loaded model to the signal that ends it."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import uvicorn

from tinyunet.core.errors import UserError
from tinyunet.server.admission import Admission
from tinyunet.server.authentication import TokenFile
from tinyunet.server.batching import Batcher
from tinyunet.server.certificates import Certificate
from tinyunet.server.holder import CurrentModel
from tinyunet.server.http.app import create_app
from tinyunet.server.http.connections import LimitedProtocol
from tinyunet.server.inspector import Inspector, Station
from tinyunet.server.logs import log
from tinyunet.server.options import ServeOptions, resolve

if TYPE_CHECKING:
    from tinyunet.server.metrics import Metrics
    from tinyunet.server.watch import Watch

GRACE_S = 120.0  # for the requests in progress after the signal
FIRST_WORDS_S = 1.0  # for the first request of a connection that was made before the end
KEEP_ALIVE_S = 75  # longer than the load balancers in front of a server keep a connection
_BACKLOG = 1024
_ACCEPT_NOTHING = struct.pack("HBBI", 6, 0, 0, 0)  # a program of one instruction: return 0
_SO_ATTACH_FILTER = 26  # of Linux; Python's socket module does not have it


def ignore_new_connections(listener: socket.socket) -> None:
    """Drop what clients send to open a connection; Linux has filters of sockets for this.

    A client asks again after a second, and is refused if the listener is closed by then.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_ACCEPT_NOTHING)
        with contextlib.suppress(OSError):  # a sandbox such as gVisor may not have them
            filtered = struct.pack("HP", 1, ctypes.addressof(program))
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtered)


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers, and with an end that loses no request."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that wait at the listeners, and answer what they send, before all is closed.

        The kernel resets connections that wait at a listener when it is closed.
        """
        loop, waiting = asyncio.get_running_loop(), []
        for listener in sockets or []:
            ignore_new_connections(listener)
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        for connection in waiting:
            with contextlib.suppress(OSError):  # the client has gone
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
        end = loop.time() + FIRST_WORDS_S
        while any(one.cycle is None for one in self._connections()) and loop.time() < end:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def _protocol(self) -> LimitedProtocol:
        protocol = self.config.http_protocol_class
        assert isinstance(protocol, type)
        assert issubclass(protocol, LimitedProtocol)
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _connections(self) -> list[LimitedProtocol]:
        return [one for one in self.server_state.connections if isinstance(one, LimitedProtocol)]


def run(current: CurrentModel, options: ServeOptions, metrics: "Metrics", watch: "Watch") -> None:
    """Answer requests until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        current: Its active model has computed once.
        options: Where to listen, and all limits.
        metrics: Count what happens.
        watch: Sees every inspection.

    Raises:
        UserError: if a port, the token file or the certificate cannot be used.
    """
    token = TokenFile(options.token_file) if options.token_file else None
    with bound(options.host, options.port) as listener:
        asyncio.run(_serve(current, options, metrics, watch, token, listener))


def check(options: ServeOptions) -> None:
    """Raise a UserError if a port, the token file or the certificate cannot be used now."""
    if options.token_file:
        TokenFile(options.token_file)
    with bound(options.host, options.port):
        pass
    if options.grpc_port:
        try:
            with bound(options.host, options.grpc_port):
                pass
        except UserError as error:
            raise UserError(str(error).replace("--port", "--grpc-port, 0 for none")) from error
    if options.tls_certificate and options.tls_key:
        Certificate(options.tls_certificate, options.tls_key)


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a listening socket; close it at the end.

    Raises:
        UserError: if the port is in use or not permitted, or the host is not of this machine.
    """
    family, kind, protocol, _, address = resolve(host, port)
    try:
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host {host!r} is no address of this machine ({error.strerror})") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise UserError(
                f"port {port} of {host} cannot be used ({error.strerror}); choose another one with --port"
            ) from error
        yield listener


async def _serve(
    current: CurrentModel,
    options: ServeOptions,
    metrics: "Metrics",
    watch: "Watch",
    token: TokenFile | None,
    listener: socket.socket,
) -> None:
    admission = Admission(options.queue, options.max_pixels, options.max_bytes)
    batcher = Batcher(admission, options.max_batch, metrics)
    inspector = Inspector(current, admission, batcher, metrics, watch)
    station = Station(inspector, metrics, token, options.open_metrics, options.read_timeout)
    signalled = _handle_signals(station)
    server = _Uvicorn(_config(station, options))
    tasks = [asyncio.create_task(signalled.wait()), batcher.start()]
    certificate = None
    if options.tls_certificate and options.tls_key:
        certificate = Certificate(options.tls_certificate, options.tls_key)
        server.config.load()
        assert server.config.ssl
        tasks.append(asyncio.create_task(certificate.follow(server.config.ssl)))
    await inspector.in_thread(import_module, "scipy.ndimage")  # the first answer would wait for it
    grpc_server = None
    if options.grpc_port:
        from tinyunet.server.rpc.listener import listen

        grpc_server = await listen(station, options, certificate)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    _announce(current, options, listener)
    ended, _ = await asyncio.wait((task, *tasks), return_when=asyncio.FIRST_COMPLETED)
    if signalled.is_set():
        await asyncio.sleep(options.drain)
    server.should_exit = True
    await asyncio.gather(task, *([grpc_server.stop(GRACE_S)] if grpc_server else []))
    for one in tasks:
        one.cancel()
    await batcher.stop()
    inspector.close()
    log("stopped")
    for one in ended:
        one.result()  # raises the error of a part that has ended by itself


def _handle_signals(station: Station) -> asyncio.Event:
    """Return an event that the first signal sets; the second one ends the process."""
    signalled, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if signalled.is_set():
            os._exit(128 + number)
        station.ready = False
        signalled.set()
        log("stopping: requests in progress end", signal=signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return signalled


def _config(station: Station, options: ServeOptions) -> uvicorn.Config:
    class Protocol(LimitedProtocol):
        max_connections = options.max_connections
        read_timeout = options.read_timeout

    return uvicorn.Config(
        create_app(station),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(GRACE_S),
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
    )


def _announce(current: CurrentModel, options: ServeOptions, listener: socket.socket) -> None:
    served, (host, port) = current.active, listener.getsockname()[:2]
    address = f"{'https' if options.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    log(
        "serving",
        address=address,
        grpc_port=options.grpc_port,
        model=served.name,
        version=served.version,
        precision=served.engine.precision,
    )
    print(f"{address}  {served.name} version {served.version}; Ctrl-C stops the server", flush=True)
