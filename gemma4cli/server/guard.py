"""Who may call the server and with how much; before anything of a request is understood.

A server on this machine is within reach of every web page that its user opens. Pages of other
origins are refused, also those whose host name suddenly means this machine (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import RequestError, failure_of
from .served import Served, ServerOptions

_OPEN = ("/", "/health")
"""Paths for which no token is asked: they say nothing of anybody. The page asks for it itself."""

_PATIENCE = 30.0
_LEAST_RATE = 16_384
"""Seconds that a body may take, and bytes per second that it must have beyond them."""

_DRAIN_SECONDS = 5.0

_METHODS = "GET, POST, OPTIONS"
_HEADERS = "authorization, content-type, x-api-key"
_MAX_AGE = "600"


class Guard:
    """Checks host, origin, token and length, in this order; answers preflight requests."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self._app = app
        self._served = served
        self._options = served.options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, origin = Headers(scope=scope), None
        body = _Body(receive, self._served)
        try:
            _check_host(headers, self._options)
            origin = _checked_origin(headers, self._options)
            if origin is not None and _is_preflight(scope, headers):
                await Response(status_code=204, headers=_preflight(origin))(scope, receive, send)
                return
            if scope["path"] not in _OPEN:
                _check_token(headers, self._options)
            _check_length(headers, self._options)
        except RequestError as error:
            failure = failure_of(error)
            more = {**failure.headers, "Connection": "close"}
            if "expect" not in headers:
                await body.drain()
            response = JSONResponse(failure.body, failure.status, headers=more)
            await response(scope, receive, _with_origin(send, origin))
            return
        try:
            await self._app(scope, body.receive, _with_origin(send, origin))
        finally:
            body.forget()


def _check_host(headers: Headers, options: ServerOptions) -> None:
    """A page of another host has another name, though it may have our address; it has no token.

    HTTP/1.0 needs no name. Browsers always send one.
    """
    given = headers.get("host")
    if options.token is None and given is not None and _name_of(given) not in options.hosts:
        problem = "this server is not called by that name: use 127.0.0.1, or start it with a token"
        raise RequestError(problem, status=403, type="permission_error", code="wrong_host")


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _checked_origin(headers: Headers, options: ServerOptions) -> str | None:
    """The page of another origin that asks; None for one of ours, and for other programs."""
    origin = headers.get("origin")
    if origin is None or origin.partition("://")[2] == headers.get("host"):
        return None
    if "*" in options.origins or origin in options.origins:
        return origin
    problem = "web pages of other origins may not call this server: see --allow-origin"
    raise RequestError(problem, status=403, type="permission_error", code="wrong_origin")


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _preflight(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _HEADERS,
        "Access-Control-Allow-Private-Network": "true",
        "Access-Control-Max-Age": _MAX_AGE,
        "Vary": "Origin",
    }


def _with_origin(send: Send, origin: str | None) -> Send:
    """Sends heads of responses with what lets a page of an allowed origin read them."""
    if origin is None:
        return send
    more = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending


def _check_token(headers: Headers, options: ServerOptions) -> None:
    if options.token is None:
        return
    kind, _, given = headers.get("authorization", "").partition(" ")
    tokens = [given.strip() if kind.lower() == "bearer" else "", headers.get("x-api-key", "")]
    if not _is_among(options.token, tokens):
        problem = "the token is missing or wrong: send it as Authorization: Bearer TOKEN"
        raise RequestError(
            problem,
            status=401,
            type="authentication_error",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _is_among(token: str, given: Iterable[str]) -> bool:
    """In a time that does not depend on how much of a token is right."""
    wanted = token.encode()
    return any(hmac.compare_digest(wanted, each.encode("latin-1", "replace")) for each in given)


def _check_length(headers: Headers, options: ServerOptions) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > options.most_body:
        raise _too_large(options.most_body)


def _too_large(most: int) -> RequestError:
    return RequestError(
        f"the body is larger than {most / (1 << 20):,g} MB: send less, or start g4 serve with a "
        "larger --max-body",
        status=413,
        code="body_too_large",
        headers={"Connection": "close"},
    )


class _Body:
    """A body that is read: not more than is allowed, and not slower than anybody sends."""

    def __init__(self, receive: Receive, served: Served) -> None:
        self._receive = receive
        self._served = served
        self._length = self._held = 0
        self._started = monotonic()
        self._is_whole = False

    async def receive(self) -> Message:
        """Raises RequestError, and QueueFullError if all bodies together are too large."""
        if self._is_whole:  # what may come is that the client leaves, at any time
            return await self._receive()
        until = self._started + _PATIENCE + self._length / _LEAST_RATE
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, until - monotonic()))
        except TimeoutError:
            raise RequestError(
                "the body comes too slowly",
                status=408,
                code="too_slow",
                headers={"Connection": "close"},
            ) from None
        block = len(message.get("body", b""))
        self._length += block
        self._is_whole = not message.get("more_body", False)
        most = self._served.options.most_body
        if self._length > most:
            await self.drain()
            raise _too_large(most)
        self._held += block
        self._served.hold(block)
        return message

    async def drain(self) -> None:
        """Drop what comes of a body that is refused: while it comes, no client reads why."""
        until = monotonic() + _DRAIN_SECONDS
        with suppress(TimeoutError):
            while not self._is_whole:
                message = await asyncio.wait_for(self._receive(), max(0.0, until - monotonic()))
                self._is_whole = not message.get("more_body", False)

    def forget(self) -> None:
        """The request is over."""
        self._served.release(self._held)
