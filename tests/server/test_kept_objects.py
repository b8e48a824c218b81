"""Requests leave nothing in the server's memory."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import struct
import time
from collections import Counter

from scripted_queue import Scripted, finished
from server_requests import asked

from gemma4cli.engine.local import LocalModel
from gemma4cli.events import TextDelta
from gemma4cli.server.app import make_app
from gemma4cli.server.listening import HttpThread, bound_socket
from gemma4cli.server.served import Served, ServerOptions

PATIENCE = 20.0
ROUNDS = 8
OURS = ("gemma4cli", "starlette", "uvicorn", "h11", "asyncio", "anyio", "_asyncio", "_thread")
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"


def post(content: bytes, length: int | None = None) -> bytes:
    return HEAD.format(len(content) if length is None else length).encode() + content


REQUESTS = {
    "whole": post(json.dumps(asked()).encode()),
    "streamed": post(json.dumps(asked(stream=True)).encode()),
    "refused": post(b"[]"),
    "broken off": post(b'{"messages"', 100),
    "no head": b"POST /v1/chat",
}


def request(address: tuple[str, int], content: bytes) -> None:
    """Read the beginning of the answer, if there is one to come, and leave."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(content)
        if content not in (REQUESTS["broken off"], REQUESTS["no head"]):
            assert connection.recv(1 << 12).startswith(b"HTTP/1.1 ")


def request_and_reset(address: tuple[str, int]) -> None:
    """Read the whole answer, then end the connection with an error."""
    client = http.client.HTTPConnection(*address, timeout=PATIENCE)
    client.request("POST", "/v1/chat/completions", json.dumps(asked()))
    connection = client.sock
    assert client.getresponse().read()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def objects() -> Counter[str]:
    """Without timers: asyncio keeps up to a hundred that were stopped, and nothing of theirs."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    found = Counter(each.__qualname__ for each in kinds if str(each.__module__).startswith(OURS))
    del found["TimerHandle"]
    return found


def settled() -> Counter[str]:
    """The objects when requests that have ended are gone."""
    found, before = objects(), None
    until = time.monotonic() + PATIENCE
    while found != before and time.monotonic() < until:
        time.sleep(0.2)
        found, before = objects(), found
    return found


def test_requests_leave_no_objects(tiny: LocalModel) -> None:
    """Whether they are answered, refused or left by their clients."""
    model = Scripted(tiny, TextDelta(text="Y"), finished("Y"))
    served = Served(ServerOptions(), ("tiny",))
    served.ready(model)
    with bound_socket("127.0.0.1", 0) as bound, HttpThread(make_app(served, len), bound):

        def make_requests(rounds: int) -> None:
            address = bound.getsockname()
            for _ in range(rounds):
                for content in REQUESTS.values():
                    request(address, content)
                request_and_reset(address)
            model.requests.clear()

        make_requests(1)
        before = settled()
        make_requests(ROUNDS)
        more = settled() - before
        assert max(more.values(), default=0) < ROUNDS / 2, more.most_common(5)
