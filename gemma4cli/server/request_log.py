"""A line per request: method, path, status, seconds and tokens; nothing of what was said."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TOKENS = "g4.tokens"
_LONGEST_PATH = 100


def note_tokens(scope: Scope, count: int) -> None:
    """Say how many tokens were generated for a request."""
    scope.setdefault("state", {})[_TOKENS] = count


class RequestLog:
    """Calls ``write`` with a line for each request that an application has answered."""

    def __init__(self, app: ASGIApp, write: Callable[[str], None]) -> None:
        self._app = app
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = "gone"  # the client is, or was before there was an answer
        state = scope.setdefault("state", {})

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            path = scope["path"]
            shown = path if len(path) <= _LONGEST_PATH else f"{path[: _LONGEST_PATH - 1]}…"
            tokens = f" {state[_TOKENS]} tokens" if _TOKENS in state else ""
            took = perf_counter() - started
            self._write(f"{scope['method']} {shown} {status} {took:.2f} s{tokens}")
