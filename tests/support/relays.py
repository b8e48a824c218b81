"""What lies between a client and a server: an end of TLS, and a proxy that opens tunnels."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PATIENCE = 20.0


@contextmanager
def tls_before(port: int, pem: Path) -> Iterator[int]:
    """The port of a server that speaks TLS with a certificate, in front of one that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def accept(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as plain:
            _join(plain, port)

    with _listening(accept) as own:
        yield own


@contextmanager
def tunnels_to(port: int) -> Iterator[tuple[int, list[str]]]:
    """The port of a proxy, and the heads of what it was asked; all hosts lead to ``port``."""
    heads: list[str] = []

    def accept(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
            head += data
        heads.append(head.decode())
        assert re.match(rb"CONNECT \S+ HTTP/1\.[01]\r\n", head)
        connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        _join(connection, port)

    with _listening(accept) as own:
        yield own, heads


@contextmanager
def _listening(accept: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does this with each connection, in a thread of its own."""

    def handle(connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE)
        with suppress(OSError), connection:
            accept(connection)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(_PATIENCE)


def _join(near: socket.socket, port: int) -> None:
    """Carry bytes between a connection and a port of this machine, until both ends are silent."""
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as far:
        back = threading.Thread(target=_carry, args=(far, near), daemon=True)
        back.start()
        _carry(near, far)
        back.join(_PATIENCE)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
