"""Requests to one server: kept connections, its errors as g4's, and waiting while it is busy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, TypeVar

from ..checked_json import JsonError, parse
from ..errors import ClosingError, Gemma4Error, QueueFullError, RemoteError, ServerError
from ..events import Finished
from ..wire.answers import MOST_LINE, read_line
from ..wire.faults import error_of
from ..wire.model_facts import MODEL_HEADER
from .address import Address
from .route import route_to

if TYPE_CHECKING:
    from ..events import Event

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

Numbered = tuple[int, "Event"]
"""A prompt's number, and an event of its answer."""

TOKEN_VARIABLE = "G4_SERVER_TOKEN"
_CONNECT_SECONDS = 10.0
_SILENT_SECONDS = 60.0
"""Between two lines of an answer; the server sends empty ones when it has nothing to say."""
_KEPT_SECONDS = 5.0
"""For which an idle connection is kept: servers close theirs, and routers forget them."""
_MOST_WAIT, _LONGEST_WAIT, _SHORTEST_WAIT = 600.0, 30.0, 0.2
"""Seconds to wait for a busy server: in all, and between two tries."""
_MOST_BODY, _MOST_ERROR = 64 << 20, 1 << 20
_GONE = "the connection broke off before the answer ended"


class Connection:
    """Sends requests, from any thread. ``wait`` sleeps; ``model`` is the identity of the model.

    Its methods raise ServerError if there is no such server, if it does not let us in, or if the
    connection is lost, and otherwise the error that the server reports.
    """

    def __init__(
        self, address: Address, token: str | None, *, wait: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises ServerError for a proxy that cannot be used."""
        self._idle: list[tuple[HTTPConnection, float]] = []
        self.address = address
        self._route = route_to(address)
        self._token = token
        self._wait = wait
        self.model: str | None = None

    def get(self, path: str) -> bytes:
        """What the server has there."""
        return self._patiently(lambda: self._whole("GET", path, None))

    def post(self, path: str, body: bytes) -> bytes:
        """What the server answers."""
        return self._patiently(lambda: self._whole("POST", path, body))

    def answers(self, path: str, body: bytes, prompts: int) -> Generator[Numbered]:
        """The events of the answers to so many prompts, with their numbers, as they come.

        Closing the stream closes the connection, which ends the answers.
        """

        def begun() -> tuple[Generator[Numbered], Numbered | None]:
            lines = self._lines(path, body, prompts)
            return lines, next(lines, None)  # a server may say only here that it has no room

        lines, first = self._patiently(begun)
        with closing(lines):
            if first is not None:
                yield first
            try:
                yield from lines
            except _Busy as busy:
                raise busy.error from None

    def another(self) -> Connection:
        """One to the same server, for another of its models."""
        return Connection(self.address, self._token, wait=self._wait)

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop()[0].close()

    def __del__(self) -> None:
        self.close()

    def error(self, problem: str) -> ServerError:
        """Why this server cannot be used."""
        return ServerError(str(self.address), problem)

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """The result of ``ask``; while the server is busy, it is called again."""
        waited = 0.0
        while True:
            try:
                return ask()
            except _Busy as busy:
                if waited >= _MOST_WAIT:
                    raise busy.error from None
                if not waited:
                    logger.warning("%s: is busy; waiting", self.address)
                seconds = min(max(busy.seconds, _SHORTEST_WAIT), _LONGEST_WAIT)
            self._wait(seconds)
            waited += seconds

    def _whole(self, method: str, path: str, body: bytes | None) -> bytes:
        with self._breaking_off(), self._asked(method, path, body) as response:
            content = response.read(_MOST_BODY + 1)
            if len(content) > _MOST_BODY:
                raise self.error("answers with more than a g4 does")
            return content

    def _lines(self, path: str, body: bytes, prompts: int) -> Generator[Numbered]:
        waiting = set(range(prompts))
        with self._breaking_off(), self._asked("POST", path, body) as response:
            while line := response.readline(MOST_LINE):
                try:
                    found = read_line(line, prompts)
                except QueueFullError as error:
                    raise _Busy(error, error.retry_after) from None
                except JsonError as exc:
                    raise self.error(f"sends what is no answer ({exc})") from exc
                if found is not None:
                    if isinstance(found[1], Finished):
                        waiting.discard(found[0])
                    yield found
        if waiting:  # http.client takes a connection that breaks off for the end
            raise self.error(_GONE)

    @contextmanager
    def _asked(self, method: str, path: str, body: bytes | None) -> Iterator[HTTPResponse]:
        """The response to a request, which is no error; its connection is kept if it was read.

        Raises the error that it is, and _Busy.
        """
        link, response = self._sent(method, path, body)
        try:
            if response.status != 200:
                raise self._error_of(response)
            yield response
            if response.isclosed() and not response.will_close:
                self._idle.append((link, time.monotonic()))
                return
        except BaseException:
            link.close()
            raise
        link.close()

    def _sent(
        self, method: str, path: str, body: bytes | None
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Send a request; a kept connection that the server has closed is replaced."""
        while self._idle:
            link, since = self._idle.pop()
            if time.monotonic() - since > _KEPT_SECONDS:
                link.close()
                continue
            try:
                return link, self._send(link, method, path, body)
            except ConnectionError:
                link.close()
        link = self._connected()
        try:
            return link, self._send(link, method, path, body)
        except BaseException:
            link.close()
            raise

    def _send(
        self, link: HTTPConnection, method: str, path: str, body: bytes | None
    ) -> HTTPResponse:
        headers = {"User-Agent": "g4", **self._route.headers}
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        if self.model is not None:
            headers[MODEL_HEADER] = self.model
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            link.request(method, self._route.target(path), body, headers)
        except ConnectionError as exc:
            try:
                return link.getresponse()  # it may have said why, and not read on
            except (OSError, HTTPException):
                raise exc from None
        return link.getresponse()

    def _connected(self) -> HTTPConnection:
        try:
            link = self._route.connect(_CONNECT_SECONDS)
        except (OSError, ValueError, HTTPException) as exc:
            raise self.error(self._route.problem(exc)) from exc
        link.sock.settimeout(_SILENT_SECONDS)
        return link

    def _error_of(self, response: HTTPResponse) -> Exception:
        status, after = response.status, response.getheader("Retry-After")
        fault, proxy = _fault_in(response.read(_MOST_ERROR)), self._route.proxy
        if fault is None and proxy is not None:
            return self.error(f"is not reached through the proxy {proxy} (HTTP status {status})")
        if status in (401, 403):
            problem = "wants a token" if self._token is None else "does not take this token"
            return self.error(f"{problem}: set {TOKEN_VARIABLE} to that of the server")
        if status == 409:
            return self.error("has another model than when this began: begin again")
        if status == 413:
            return RemoteError("the server, or what is before it, takes no prompt of this size")
        if fault is None:
            return self.error(f"is no g4 that serves a model (HTTP status {status})")
        error = error_of(fault)
        if isinstance(error, ClosingError):
            return self.error("is closing: try again later")
        if status == 429 or (status == 503 and after and isinstance(error, RemoteError)):
            return _Busy(error, _seconds(after))
        return error

    @contextmanager
    def _breaking_off(self) -> Iterator[None]:
        """Within this, what breaks the connection is a ServerError."""
        try:
            yield
        except TimeoutError as exc:
            raise self.error(f"has said nothing for {_SILENT_SECONDS:.0f} s") from exc
        except ClosingError as exc:
            raise self.error("was closed before the answer ended") from exc
        except (OSError, HTTPException) as exc:
            cause = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
            raise self.error(f"{_GONE} ({cause})") from exc


class _Busy(Exception):
    """The server has no room; ``seconds`` is when to ask again."""

    def __init__(self, error: Gemma4Error, seconds: float) -> None:
        self.error = error
        self.seconds = seconds
        super().__init__(str(error))


def _fault_in(content: bytes) -> object:
    """The error in a response; None if it has none, as those of other programs."""
    try:
        value = parse(content)
    except JsonError:
        return None
    return value.get("error") if isinstance(value, dict) else None


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else _SHORTEST_WAIT
