"""A server whose answers a test has written: bytes for one connection after the other."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Scripted:
    """Where it listens, and the heads of the requests that came."""

    port: int
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def response(status: int, body: bytes | object, *headers: str) -> bytes:
    """A whole response; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(head).encode() + content


def chunks(*lines: bytes, ends: bool = True) -> bytes:
    """A response that comes in chunks, and breaks off unless it ``ends``."""
    parts = [b"%x\r\n%s\r\n" % (len(line), line) for line in lines]
    end = b"0\r\n\r\n" if ends else b""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + end


@contextmanager
def scripted(*answers: bytes | Sequence[bytes]) -> Iterator[Scripted]:
    """Answers one connection after the other, then none; several answers go over one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = Scripted(port=server.getsockname()[1])

        def serve() -> None:
            for each in answers:
                with suppress(OSError), server.accept()[0] as connection:
                    for answer in [each] if isinstance(each, bytes) else each:
                        said.heads.append(_request(connection))
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield said
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _request(connection: socket.socket) -> str:
    """Read a request with its body; its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = sum(int(line.split(b":")[1]) for line in lengths) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536))
    return head.decode()
