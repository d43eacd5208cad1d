import socket

import pytest

from tinyunet.server.lifecycle import bound, ignore_new_connections


def test_a_closing_listener_keeps_the_connections_that_wait_and_makes_no_new_ones() -> None:
    with bound("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5) as waiting:
            ignore_new_connections(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.2)
            accepted, _ = listener.accept()
            with accepted:
                waiting.sendall(b"question")
                assert accepted.recv(8) == b"question"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
