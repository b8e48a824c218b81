"""The socket, and the thread in which HTTP is served; signals stay with the program."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import OptionError
from ..lookups import UNIX, unix_path
from .unix_socket import bound_unix_socket

_BACKLOG = 128
_HEAD_SECONDS = 10
"""In which the head of a request must come, and between requests of one connection."""
_WRITE_SECONDS = 60.0
"""In which a client must read something of what it is sent."""
_LONGEST_HEAD = 64 << 10
_MOST_CONNECTIONS = 1024
_FILES = 4096
"""Descriptors that the process asks for; on a Mac it may have 256 unless it asks."""


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket at a host and a port, 0 for any that is free, or at "unix:/run/g4.sock".

    Raises OptionError.
    """
    path = unix_path(host)
    if path is not None:
        return bound_unix_socket(path, _BACKLOG)
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, _, _, address = found[0]
        bound = socket.socket(family, kind)
    except OSError as exc:
        raise OptionError(f"--host {host}: {exc.strerror or exc}") from exc
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as exc:
        bound.close()
        hint = "; choose another --port" if port else ""
        raise OptionError(f"cannot listen on {host}:{port}: {exc.strerror or exc}{hint}") from exc
    return bound


def url_of(bound: socket.socket) -> str:
    """Where a bound socket is, for whoever is to type it."""
    if bound.family == socket.AF_UNIX:
        return f"{UNIX}{bound.getsockname()}"
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_more_files() -> None:
    """Raise the number of descriptors that this process may have, as far as it may itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """How many clients may be connected: media, uploads and the model need descriptors too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, files // 2)


class HttpThread:
    """Serves an application in a thread of its own, where uvicorn takes no signals."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        allow_more_files()
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_HEAD_SECONDS,
            h11_max_incomplete_event_size=_LONGEST_HEAD,
        )
        self._server = uvicorn.Server(config)
        self._bound = bound
        self._ended = Event()
        self._thread = Thread(target=self._run, name="http", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def wait(self) -> None:
        """Until it has ended, which it does not by itself."""
        self._ended.wait()

    def stop(self) -> None:
        """Accept no connection any more; those without a request end."""
        self._server.should_exit = True

    def end(self, seconds: float = 2.0) -> None:
        """End all that is left, and the thread."""
        self.stop()
        self._thread.join(seconds)
        self._server.force_exit = True
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._server.run([self._bound])
        finally:
            self._ended.set()


class _Timer:
    """Calls something after a while, unless it is stopped."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._handle is not None

    def start(self, loop: asyncio.AbstractEventLoop, after: float, then: Callable[[], Any]) -> None:
        def ring() -> None:
            self._handle = None
            then()

        self.stop()
        self._handle = loop.call_later(after, ring)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _Protocol(H11Protocol):
    """A connection that ends if its client sends no whole head, or does not read the answer.

    Of too many connections, the one ends that has asked nothing for the longest time.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head, self._write = _Timer(), _Timer()
        self._heard = self.loop.time()
        self._await_head()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        super().data_received(data)
        if self._is_answering:
            self._head.stop()
        elif not self._head.is_running:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._write.stop()
        super().connection_lost(exc)
        # Uvicorn does so only if no error ended the connection, such as a client's reset.
        self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        self._write.start(self.loop, _WRITE_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._write.stop()
        super().resume_writing()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> None:
        open_ones = [
            each
            for each in self.connections
            if isinstance(each, _Protocol) and not each.transport.is_closing()
        ]
        if len(open_ones) > most_connections():
            idle = [each for each in open_ones if not each._is_answering]
            min(idle, key=lambda each: each._heard).transport.abort()

    def _await_head(self) -> None:
        self._head.start(self.loop, _HEAD_SECONDS, self._end_unless_answering)

    def _end_unless_answering(self) -> None:
        if not self._is_answering:
            self.transport.abort()
