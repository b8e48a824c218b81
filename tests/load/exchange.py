"""One request over a socket: sent as it is given, read as it comes, and judged."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

PATIENCE = 300.0
"""Seconds without a byte after which there is no answer."""
REFUSED_FOR_NOW = 429
_Parsed = tuple[int | None, bytes, dict[str, str]]
_NOTHING: _Parsed = (None, b"", {})


class Fault(Exception):
    """What a server must not do."""


@dataclass(kw_only=True)
class Outcome:
    """How a request ended.

    Attributes:
        status: The status of the answer; None if the connection ended without one.
        seconds: From the request to the end of the answer.
        first: From the request to the first byte of the answer.
        retry_after: What a client that must wait is told.
    """

    status: int | None
    seconds: float
    first: float
    retry_after: float = 0.0


class Exchange:
    """A connection of one request."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.begun = time.monotonic()
        self.first = 0.0
        self.content = bytearray()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        """Send; a server may refuse a request, and answer, before all of it was sent."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(content)

    def receive(self, most: int = 1 << 16) -> bytes:
        """Some bytes of the answer, none at its end. Raises Fault if nothing comes."""
        try:
            block = self.socket.recv(most)
        except TimeoutError:
            raise Fault(f"nothing came for {PATIENCE:.0f} s") from None
        except ConnectionResetError:
            block = b""
        if not self.content:
            self.first = time.monotonic() - self.begun
        self.content += block
        return block

    def rest(self) -> None:
        """Read to the end of the connection, which requests here ask the server to close."""
        while self.receive():
            pass

    def outcome(self, expected: Collection[int | None], *, streams: bool = False) -> Outcome:
        """Judge all that came. Raises Fault."""
        seconds = time.monotonic() - self.begun
        status, body, headers = _parsed(bytes(self.content)) if self.content else _NOTHING
        if status not in (*expected, REFUSED_FOR_NOW):
            raise Fault(f"status {status}: {body[:300]!r}")
        if status is not None and status >= 400:
            check_error(_json(body))
        elif status == 200 and streams:
            check_stream(body)
        wait = headers.get("retry-after")
        if status == REFUSED_FOR_NOW and wait is None:
            raise Fault("429 without Retry-After")
        return Outcome(
            status=status, seconds=seconds, first=self.first, retry_after=float(wait or 0)
        )

    def ended(self, status: int | None) -> Outcome:
        """What a client says that judges by itself, or that leaves."""
        seconds = time.monotonic() - self.begun
        return Outcome(status=status, seconds=seconds, first=self.first)


class _Answer(io.BytesIO):
    """What http.client reads instead of a socket."""

    def makefile(self, *args: object, **kwargs: object) -> io.BytesIO:
        return self


def _parsed(content: bytes) -> _Parsed:
    response = http.client.HTTPResponse(_Answer(content))  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read()
    except http.client.HTTPException as exc:
        raise Fault(f"an answer that breaks off ({exc!r}): {content[-200:]!r}") from exc
    return response.status, body, {name.lower(): text for name, text in response.getheaders()}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise Fault(f"an answer that is not JSON: {body[:200]!r}") from None


def check_error(data: Any) -> None:
    """An error as OpenAI's API has it. Raises Fault."""
    error = data.get("error") if isinstance(data, dict) and set(data) == {"error"} else None
    fields = {"message", "type", "param", "code"}
    if not isinstance(error, dict) or set(error) != fields or not error["message"]:
        raise Fault(f"an error in another form: {data!r}"[:300])


def check_stream(body: bytes) -> None:
    """Events up to the last, with a reason why the answer ends, or an error. Raises Fault."""
    *events, end, rest = body.decode().split("\n\n")
    if (end, rest) != ("data: [DONE]", ""):
        raise Fault(f"a stream without an end: {body[-200:]!r}")
    chunks = [_json(each.removeprefix("data: ").encode()) for each in events if each[:1] != ":"]
    if any("error" in chunk for chunk in chunks):
        check_error(chunks[-1])
        return
    reasons = [each["finish_reason"] for chunk in chunks for each in chunk["choices"]]
    if sum(reason is not None for reason in reasons) != 1:
        raise Fault(f"a stream that ends with {reasons[-3:]}")
