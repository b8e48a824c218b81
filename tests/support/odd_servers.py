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
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglboXRxi4l/7sqfGL
ZVoeYPGcydTTyEtjKsJ2siwDzcShRANCAAR+CRWfdAqYf2Z6NHRrysEUJbvwgKge
idITk5PyKYjg8rLmVYvQXn6swFnvNr85J2lVf3towqMW0BNyifwaIJPb
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBpjCCAUugAwIBAgIULKlX3hxwoPL4RvJDCUxXZBN3if4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDE3NDU0OFoYDzIxMjYxMTA2
MTc0NTQ4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR+CRWfdAqYf2Z6NHRrysEUJbvwgKgeidITk5PyKYjg8rLmVYvQXn6s
wFnvNr85J2lVf3towqMW0BNyifwaIJPbo3kwdzAdBgNVHQ4EFgQU0CXLE0GotYM2
3W6cgYVy1i86cGgwHwYDVR0jBBgwFoAU0CXLE0GotYM23W6cgYVy1i86cGgwDwYD
VR0TAQH/BAUwAwEB/zAkBgNVHREEHTAbgglsb2NhbGhvc3SCDnN0dWRpby5pbnZh
bGlkMAoGCCqGSM49BAMCA0kAMEYCIQCrB7KFsF0qmvF+VCMMp8tUEAO2bW9ulXJG
CeJwCEKhggIhAIRfUlwf3CPvuzRWJ5M2vdEqeyj4wWWdXT3MY35yudff
-----END CERTIFICATE-----
"""
"""Of "localhost" and "studio.invalid", with its key, signed by itself; for these tests alone."""


def certificate(folder: Path) -> Path:
    """A file with the certificate and its key."""
    pem = folder / "both.pem"
    pem.write_text(_CERTIFICATE)
    return pem


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
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(certificate(signed_by_itself))
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
