"""What becomes of a server's answers, and of a server that gives none."""

from __future__ import annotations

import logging
import socket
import threading

import pytest
from support.odd_servers import answering
from support.scripted_server import chunks, response, scripted

from gemma4cli.errors import (
    ContextLengthError,
    Gemma4Error,
    QueueFullError,
    RemoteError,
    ServerError,
)
from gemma4cli.events import Event, Finished, TextDelta, Timings, Usage
from gemma4cli.remote import connection as module
from gemma4cli.remote.address import address_of
from gemma4cli.remote.connection import Connection
from gemma4cli.remote.remote_model import RemoteModel
from gemma4cli.wire.answers import STILL_THERE, error_line, event_line
from gemma4cli.wire.faults import fault_of

FINISHED = Finished(
    reason="stop", text="A", thoughts="", token_ids=(5,), usage=Usage(), timings=Timings()
)
TEXT = TextDelta(text="A")
WHOLE = chunks(STILL_THERE, event_line(0, TEXT), STILL_THERE, event_line(0, FINISHED))


def connected(url: str, token: str | None = None, waits: list[float] | None = None) -> Connection:
    return Connection(address_of(url), token, wait=(waits if waits is not None else []).append)


def answer(link: Connection) -> list[Event]:
    return [event for _, event in link.answers("/g4/v1/generate", b"{}", 1)]


def refusal(error: Gemma4Error, status: int, *headers: str) -> bytes:
    return response(status, {"error": fault_of(error)}, *headers)


def test_events_come_in_order_and_a_connection_is_used_again() -> None:
    with scripted([WHOLE, response(200, b"more")], response(200, b"anew")) as server:
        link = connected(server.url)
        assert answer(link) == [TEXT, FINISHED]
        assert link.get("/a") == b"more"
        assert link.get("/b") == b"anew"  # the server has closed the first one
    assert [head.split()[1] for head in server.heads] == ["/g4/v1/generate", "/a", "/b"]


def test_a_token_is_sent_and_a_path_of_the_address_comes_first() -> None:
    with scripted(response(200, b"")) as server:
        connected(f"{server.url}/models/v1", "secret").get("/g4/v1/model")
    assert server.heads[0].startswith("GET /models/g4/v1/model HTTP/1.1")
    assert "Authorization: Bearer secret" in server.heads[0]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (response(401, {"error": {"message": "no"}}), "wants a token: set G4_SERVER_TOKEN"),
        (response(403, b"<html>"), "wants a token: set G4_SERVER_TOKEN"),
        (response(404, b"<html>Not Found"), "is no g4 that serves a model .HTTP status 404"),
        (
            response(302, b"", "Location: http://a/"),
            "is no g4 that serves a model .HTTP status 302",
        ),
        (response(200, b"<html>"), "is no g4 that serves a model"),
        (response(200, {"protocol": 7}), "speaks version 7 of the protocol, this g4 "),
        (response(200, {"protocol": 1}), "is no g4 that serves a model .lacks"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "the connection broke off"),
        (b"", "the connection broke off"),
        (
            response(503, {"error": {"message": "x", "class": "ClosingError"}}, "Retry-After: 5"),
            "is closing",
        ),
    ],
)
def test_what_is_no_server_gets_an_error_with_its_address(said: bytes, problem: str) -> None:
    with scripted(said) as server, pytest.raises(ServerError, match=problem) as raised:
        RemoteModel(connected(server.url))
    assert str(raised.value).startswith(f"{server.url}: ")


def test_another_model_at_the_same_address_is_not_asked() -> None:
    """Token ids would mean something else to it."""
    other = response(409, {"error": {"message": "another", "code": "other_model"}})
    with scripted(other) as server, pytest.raises(ServerError, match="has another model than"):
        link = connected(server.url)
        link.model = "abc"
        answer(link)
    assert "X-G4-Model: abc" in server.heads[0]


def test_a_connection_that_was_idle_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_SECONDS", -1.0)
    with scripted(response(200, b"a"), response(200, b"b")) as server:
        link = connected(server.url)
        assert (link.get("/"), link.get("/")) == (b"a", b"b")


def test_a_wrong_token_is_called_wrong() -> None:
    with (
        scripted(response(401, b"")) as server,
        pytest.raises(ServerError, match="does not take this token"),
    ):
        connected(server.url, "wrong").get("/")


def test_nobody_listens_or_there_is_no_such_host() -> None:
    with pytest.raises(ServerError, match=r"cannot be reached \(Connection refused\): start it"):
        connected("127.0.0.1:9").get("/")
    for host in ("nobody.invalid", "nobody" * 20):
        with pytest.raises(ServerError, match="no such host"):
            connected(host).get("/")


def test_a_name_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    known = threading.Event()
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **how: known.wait(20) and [])
    with pytest.raises(ServerError, match=r"cannot be reached \(no answer\)"):
        connected("studio").get("/")
    known.set()


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENT_SECONDS", 0.05)
    with answering(None) as port, pytest.raises(ServerError, match="has said nothing for"):
        connected(f"127.0.0.1:{port}").get("/")


@pytest.mark.parametrize(
    "said",
    [
        chunks(event_line(0, TEXT), ends=False),
        chunks(event_line(0, TEXT)),
        chunks(event_line(0, TEXT), event_line(0, FINISHED)[:-9], ends=False),
        chunks(event_line(0, TEXT), error_line(QueueFullError(3))),
    ],
    ids=["breaks off", "ends too early", "breaks off in a line", "is put out of the queue"],
)
def test_an_answer_that_breaks_off_ends_with_one_error(said: bytes) -> None:
    with scripted(said) as server:
        events = connected(server.url).answers("/", b"", 1)
        assert next(events) == (0, TEXT)
        with pytest.raises((ServerError, QueueFullError)):
            list(events)


def test_a_server_that_closes_in_mid_answer_is_named() -> None:
    closing = b'{"error": {"message": "x", "class": "ClosingError"}}\n'
    with (
        scripted(chunks(event_line(0, TEXT), closing)) as server,
        pytest.raises(ServerError, match="was closed before the answer ended"),
    ):
        answer(connected(server.url))


def test_while_a_server_is_busy_it_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """Whether it says so in the status, or in the first line of its answer; and while it loads."""
    waits: list[float] = []
    loading = {"error": {"message": "the model is being loaded", "type": "server_error"}}
    with (
        caplog.at_level(logging.WARNING),
        scripted(
            refusal(QueueFullError(64), 429, "Retry-After: 7"),
            chunks(error_line(QueueFullError(64, 2.5))),
            response(503, loading, "Retry-After: 600"),
            refusal(QueueFullError(64), 429),
            WHOLE,
        ) as server,
    ):
        assert answer(connected(server.url, waits=waits)) == [TEXT, FINISHED]
    assert waits == [7, 2.5, 30, 0.2]
    assert [each.getMessage() for each in caplog.records] == [f"{server.url}: is busy; waiting"]


def test_a_server_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAIT", 20.0)
    waits: list[float] = []
    full = refusal(QueueFullError(64), 429, "Retry-After: 15")
    with scripted(full, full, full) as server, pytest.raises(QueueFullError):
        connected(server.url, waits=waits).get("/")
    assert waits == [15, 15]


def test_errors_of_the_model_are_raised_as_they_are() -> None:
    with (
        scripted(refusal(ContextLengthError(9, 8), 400)) as server,
        pytest.raises(ContextLengthError, match="the prompt has 9 tokens"),
    ):
        connected(server.url).post("/", b"")
    with (
        scripted(response(413, {"error": {"message": "the body is larger than 64 MB"}})) as server,
        pytest.raises(RemoteError, match="takes no prompt of this size"),
    ):
        connected(server.url).post("/", bytes(1 << 20))


def test_closing_an_answer_closes_its_connection() -> None:
    with scripted(WHOLE, response(200, b"new")) as server:
        link = connected(server.url)
        events = link.answers("/", b"", 1)
        next(events)
        events.close()
        assert link.get("/") == b"new"
