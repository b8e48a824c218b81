"""Servers that answer junk, never, or with a certificate that nobody has signed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgS3PPNC1bOYIIooBo
ZCH/IKHG3GDWWdHMjTvmyt89V/OhRANCAAQ58kwViQY05E2Yyko1D6gN09SgZnp2
wfheSb+SGc1L7LdeLMCpqgd5xYjoTaOI1DX/kvnCtVzImMtPsAUq/P+X
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUc0nMAlWSLesY4ftRU7XVwoL5XD8wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDExMTAwM1oYDzIxMjYxMTA2
MTExMDAzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQ58kwViQY05E2Yyko1D6gN09SgZnp2wfheSb+SGc1L7LdeLMCpqgd5
xYjoTaOI1DX/kvnCtVzImMtPsAUq/P+Xo1MwUTAdBgNVHQ4EFgQUZmioJ+3ScAn9
EGCcK6N+2o5QdFMwHwYDVR0jBBgwFoAUZmioJ+3ScAn9EGCcK6N+2o5QdFMwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiB+eFNYPyDvzKTz19zHfnH4
6osOOlFOoUI5EucIi6C1nQIhAPp+YJPCtD7kQLRBwPQCgNbQl4kDsB6J/gB9zTlM
kyeG
-----END CERTIFICATE-----
"""
"""Of "localhost", with its key, signed by itself; made for these tests alone."""


@contextmanager
def answering(junk: bytes | None, *, signed_by_itself: Path | None = None) -> Iterator[int]:
    """The port of a server that answers every request with the same bytes, or never (None).

    In the folder ``signed_by_itself`` it gets a certificate, and speaks TLS.
    """
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def answer(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                if signed_by_itself is not None:
                    pem = signed_by_itself / "both.pem"
                    pem.write_text(_CERTIFICATE)
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(pem)
                    connection = context.wrap_socket(connection, server_side=True)
                connection.recv(65536)
                if junk is None:
                    closing.wait()
                else:
                    connection.sendall(junk)

        def serve() -> None:
            while not closing.is_set():
                with suppress(TimeoutError):
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            closing.set()
            thread.join()
