"""Connections of clients that send or read too slowly, and of those that leave."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from scripted_queue import Scripted, finished
from server_requests import asked

from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import OptionError
from gemma4cli.events import TextDelta
from gemma4cli.lookups import is_loopback
from gemma4cli.server import guard, listening
from gemma4cli.server.app import make_app
from gemma4cli.server.listening import HttpThread, bound_socket, url_of
from gemma4cli.server.served import Served, ServerOptions

PATIENCE = 20.0
MOST_BODY = 1 << 20
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


Connect = Callable[[Scripted], socket.socket]


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[Served, socket.socket]]:
    """A server in another thread, which waits for its model."""
    served = Served(ServerOptions(most_body=MOST_BODY), ("tiny",))
    bound = bound_socket("127.0.0.1", 0)
    with HttpThread(make_app(served, lambda line: None), bound):
        yield served, bound


@pytest.fixture
def connect(door: tuple[Served, socket.socket]) -> Iterator[Connect]:
    """Makes a connection to the server, which has the given model then."""
    with ExitStack() as connections:

        def connected(model: Scripted) -> socket.socket:
            served, bound = door
            served.ready(model)
            connection = socket.create_connection(bound.getsockname(), timeout=PATIENCE)
            return connections.enter_context(connection)

        yield connected


def request() -> bytes:
    body = json.dumps(asked(stream=True)).encode()
    return HEAD % len(body) + body


def everything(connection: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    found = b""
    try:
        while block := connection.recv(1 << 16):
            found += block
    except ConnectionResetError:
        pass
    return found


def eventually(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_client_that_sends_no_whole_head_is_left(
    connect: Connect, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_HEAD_SECONDS", 0.05)
    connection = connect(Scripted(tiny))
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc")
    assert everything(connection) == b""


def test_a_later_head_must_be_whole_as_well(
    connect: Connect, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_HEAD_SECONDS", 0.05)
    connection = connect(Scripted(tiny))
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    found = b""
    while not found.endswith(b'{"status":"ready"}'):
        found += connection.recv(1 << 16)
    connection.sendall(b"GET /hea")
    assert everything(connection) == b""


def test_a_client_that_sends_no_whole_body_is_told_so(
    connect: Connect, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_PATIENCE", 0.05)
    connection = connect(Scripted(tiny))
    connection.sendall(HEAD % 1000 + b'{"messages"')
    assert everything(connection).startswith(b"HTTP/1.1 408 ")


def test_a_client_reads_why_its_body_is_refused_though_it_sends_on(
    connect: Connect, tiny: LocalModel
) -> None:
    connection = connect(Scripted(tiny))
    connection.sendall(HEAD % (MOST_BODY + 1) + b" " * (MOST_BODY + 1))
    found = everything(connection)
    assert found.startswith(b"HTTP/1.1 413 ") and b"larger than 1 MB" in found


def test_a_client_that_reads_nothing_is_left_and_its_answer_cancelled(
    connect: Connect, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_WRITE_SECONDS", 0.05)
    model = Scripted(tiny, *[TextDelta(text="x" * 1_000_000)] * 20)
    connection = connect(model)
    connection.sendall(request())
    eventually(lambda: bool(model.requests) and model.requests[0].is_cancelled)


def test_a_client_that_leaves_ends_its_answer(connect: Connect, tiny: LocalModel) -> None:
    model = Scripted(tiny, TextDelta(text="Y"))
    connection = connect(model)
    connection.sendall(request())
    assert b"200 OK" in connection.recv(1 << 16)
    connection.close()
    eventually(lambda: model.requests[0].is_cancelled)


def test_a_connection_serves_several_requests(connect: Connect, tiny: LocalModel) -> None:
    connection = connect(Scripted(tiny, TextDelta(text="Y"), finished("Y")))
    for _ in range(2):
        connection.sendall(request())
        found = b""
        while not found.endswith(b"\r\n0\r\n\r\n"):
            found += connection.recv(1 << 16)
        assert b"data: [DONE]" in found


def test_idle_connections_make_room_for_new_ones(
    tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one whose request is coming or is answered does not."""
    monkeypatch.setattr(listening, "_MOST_CONNECTIONS", 2)
    served = Served(ServerOptions(), ("tiny",))
    served.ready(Scripted(tiny, TextDelta(text="Y"), finished("Y")))
    head, _, body = request().partition(b"\r\n\r\n")
    with ExitStack() as stack:
        bound = stack.enter_context(bound_socket("127.0.0.1", 0))
        stack.enter_context(HttpThread(make_app(served, lambda line: None), bound))

        def connected() -> socket.socket:
            connection = socket.create_connection(bound.getsockname(), timeout=PATIENCE)
            return stack.enter_context(connection)

        sending = connected()
        sending.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert sending.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        idle, asking = connected(), connected()
        assert everything(idle) == b""
        asking.sendall(request())
        sending.sendall(body)
        for each in (asking, sending):
            found = b""
            while not found.endswith(b"\r\n0\r\n\r\n"):
                found += each.recv(1 << 16)
            assert b"data: [DONE]" in found


def test_requests_that_come_at_once_are_answered_one_after_the_other(
    connect: Connect, tiny: LocalModel
) -> None:
    model = Scripted(tiny, TextDelta(text="Y"), finished("Y"))
    connection = connect(model)
    connection.sendall(request() * 100)
    found = b""
    while found.count(b"data: [DONE]") < 100:
        found += connection.recv(1 << 16)
    assert len(model.requests) == 100


def test_a_client_that_sends_each_byte_alone_is_answered(
    connect: Connect, tiny: LocalModel
) -> None:
    connection = connect(Scripted(tiny, TextDelta(text="Y"), finished("Y")))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request():
        connection.sendall(bytes([byte]))
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_client_may_ask_before_it_sends_a_body(connect: Connect, tiny: LocalModel) -> None:
    connection = connect(Scripted(tiny, TextDelta(text="Y"), finished("Y")))
    head, _, body = request().partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(body)
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_asks_before_it_sends_too_much_is_refused_at_once(
    connect: Connect, tiny: LocalModel
) -> None:
    connection = connect(Scripted(tiny))
    head, _, _ = (HEAD % (MOST_BODY + 1)).rpartition(b"\r\n")
    connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
    assert everything(connection).startswith(b"HTTP/1.1 413 ")


def test_a_client_of_http_1_0_needs_no_name(connect: Connect, tiny: LocalModel) -> None:
    """Its answer ends with the connection, a streamed one too."""
    body = json.dumps(asked(stream=True)).encode()
    connection = connect(Scripted(tiny, TextDelta(text="Y"), finished("Y")))
    head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % len(body) + body)
    found = everything(connection)
    assert found.startswith(b"HTTP/1.1 200 ") and found.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.9.1"])
def test_addresses_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "server"])
def test_addresses_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


def test_an_address_is_shown_as_it_is_typed() -> None:
    with bound_socket("127.0.0.1", 0) as bound:
        assert url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(OptionError, match="another --port"):
            bound_socket("127.0.0.1", bound.getsockname()[1])
