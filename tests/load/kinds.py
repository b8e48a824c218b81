"""The kinds of clients: what each sends, how it reads, and what it may get."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from .bodies import (
    CHAT,
    SCHEMA,
    WEATHER,
    form,
    head,
    long_schema,
    picture,
    post,
    question,
    recording,
    speech,
    words,
)
from .exchange import REFUSED_FOR_NOW, Exchange, Fault, Outcome

MAX_BODY_MB = 2
_CLOSED = (None,)
_SLOW_BYTES, _SLOW_PAUSE = 40, 0.1
_IDLE_SECONDS = 30.0
"""After which the server must have ended a connection without a request."""

Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of client.

    ``run`` makes one request and raises Fault; ``weight`` is its share, and ``asks`` whether it
    wants an answer of the model and waits for it.
    """

    name: str
    weight: int
    run: Callable[[Address, Random], Outcome]
    asks: bool = False


def _answered(
    make: Callable[[Random], dict[str, Any]], path: str = CHAT
) -> Callable[[Address, Random], Outcome]:
    """Clients that wait for their answer, whole or streamed."""

    def run(address: Address, rng: Random) -> Outcome:
        streams = rng.random() < 0.5
        with Exchange(address) as exchange:
            exchange.send(post(make(rng) | {"stream": streams}, path))
            exchange.rest()
            return exchange.outcome((200,), streams=streams and path == CHAT)

    return run


def _short(rng: Random) -> dict[str, Any]:
    return question(words(rng, 4), rng)


def _long(rng: Random) -> dict[str, Any]:
    return question(words(rng, rng.randint(300, 1200)), rng)


def _picture(rng: Random) -> dict[str, Any]:
    return question([picture(rng), {"type": "text", "text": "Describe this image."}], rng)


def _speech(rng: Random) -> dict[str, Any]:
    return question([{"type": "text", "text": "Transcribe this."}, speech(rng)], rng)


def _schema(rng: Random) -> dict[str, Any]:
    content = [picture(rng), {"type": "text", "text": "What is this?"}]
    return question(content, rng, response_format=SCHEMA, max_tokens=60)


def _tools(rng: Random) -> dict[str, Any]:
    choice = rng.choice(("auto", "required"))
    return question("Weather?", rng, tools=[WEATHER], tool_choice=choice, max_tokens=60)


def _response(rng: Random) -> dict[str, Any]:
    body = _short(rng)
    return {"input": body["messages"], "max_output_tokens": body["max_tokens"]}


def _transcription(address: Address, rng: Random) -> Outcome:
    fields = {"response_format": rng.choice(("json", "text", "srt", "verbose_json"))}
    if fields["response_format"] in ("json", "text") and rng.random() < 0.5:
        fields["stream"] = "true"
    body, kind = form(recording(rng), **fields)
    with Exchange(address) as exchange:
        exchange.send(post(body, "/v1/audio/transcriptions", Content_Type=kind))
        exchange.rest()
        return exchange.outcome((200,))


def _leaver(address: Address, rng: Random) -> Outcome:
    """Asks for a long answer, and leaves before it, at its first bytes, or later."""
    body = rng.choice((_short, _picture, _long))(rng)
    body |= {"response_format": long_schema(100), "max_tokens": 600, "stream": rng.random() < 0.8}
    with Exchange(address) as exchange:
        exchange.send(post(body))
        if rng.random() < 0.3:
            time.sleep(rng.random())
        elif body["stream"]:
            for _ in range(rng.randint(1, 6)):
                if not exchange.receive():
                    break
        else:
            time.sleep(rng.random())
        return exchange.ended(None)


def _slow_reader(address: Address, rng: Random) -> Outcome:
    """Reads a byte every 100 ms for a while, and then the rest."""
    with Exchange(address) as exchange:
        exchange.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        exchange.send(post(_short(rng) | {"stream": True}))
        for _ in range(_SLOW_BYTES):
            if not exchange.receive(1):
                break
            time.sleep(_SLOW_PAUSE)
        exchange.rest()
        return exchange.outcome((200,), streams=True)


def _slow_writer(address: Address, rng: Random) -> Outcome:
    """Sends its request in small parts, with pauses."""
    content = post(_short(rng))
    with Exchange(address) as exchange:
        size = len(content) // 12 + 1
        for start in range(0, len(content), size):
            exchange.send(content[start : start + size])
            time.sleep(_SLOW_PAUSE)
        exchange.rest()
        return exchange.outcome((200,))


def _oversized(address: Address, rng: Random) -> Outcome:
    """A body that is too long: by its head, or as it comes."""
    length = (MAX_BODY_MB << 20) + rng.randint(1, 1 << 20)
    with Exchange(address) as exchange:
        if rng.random() < 0.5:
            exchange.send(head("POST", CHAT, length))
        else:
            exchange.send(head("POST", CHAT, Transfer_Encoding="chunked"))
            block = b"10000\r\n" + b" " * 65536 + b"\r\n"
            for _ in range(length // 65536 + 1):
                exchange.send(block)
        exchange.rest()
        return exchange.outcome((413, None))


def _broken(address: Address, rng: Random) -> Outcome:
    """A body that breaks off; the client waits for what the server says, or leaves."""
    content = post(_picture(rng))
    with Exchange(address) as exchange:
        exchange.send(content[: rng.randint(len(content) // 4, len(content) - 1)])
        if rng.random() < 0.5:
            return exchange.ended(None)
        exchange.socket.shutdown(socket.SHUT_WR)
        exchange.rest()
        return exchange.outcome((400, None))


_BAD_JSON = (b"", b"{", b"[]", b"null", b'{"messages": [}', b"\xff\xfe", b"[" * 5000)
_BAD_FIELDS: tuple[dict[str, Any], ...] = (
    {"messages": []},
    {"messages": "Hello"},
    {"messages": [{"role": "nobody", "content": "Hello"}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 3}]}]},
    {"temperature": "hot"},
    {"max_tokens": -1},
    {"stop": [""]},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}}},
    {"tools": [{"type": "function", "function": {"name": "a b"}}]},
    {"tool_choice": "required"},
    {"n": 17},
)
_BAD_MEDIA = ("data:image/png;base64,AAAA", "data:image/png;base64,!", "file:///etc/passwd", "x")


def _bad_request(address: Address, rng: Random) -> Outcome:
    """JSON that is none, fields that are wrong, and media that are none."""
    match rng.randrange(3):
        case 0:
            content = post(rng.choice(_BAD_JSON))
        case 1:
            content = post(_short(rng) | rng.choice(_BAD_FIELDS) | {"stream": rng.random() < 0.5})
        case _:
            part = {"type": "image_url", "image_url": {"url": rng.choice(_BAD_MEDIA)}}
            content = post(question([part], rng, stream=rng.random() < 0.5))
    with Exchange(address) as exchange:
        exchange.send(content)
        exchange.rest()
        return exchange.outcome((400,))


def _stranger(address: Address, rng: Random) -> Outcome:
    """A wrong token, a path or a model that there is not, another method, no HTTP at all."""
    content, status = rng.choice(
        (
            (post(_short(rng), token="wrong"), 401),
            (head("GET", "/v1/models", token=""), 401),
            (post(_short(rng) | {"model": "other"}), 404),
            (post(_short(rng), "/v1/nothing"), 404),
            (head("GET", CHAT), 405),
            (b"\x16\x03\x01 is no HTTP\r\n\r\n", 400),
        )
    )
    with Exchange(address) as exchange:
        exchange.send(content)
        exchange.rest()
        if status == 400:  # the HTTP library's own words, as no program of OpenAI's says this
            return exchange.ended(None)
        return exchange.outcome((status,))


def _half_open(address: Address, rng: Random) -> Outcome:
    """Connects and sends nothing, or half a head; the server ends the connection."""
    with Exchange(address) as exchange:
        exchange.socket.settimeout(_IDLE_SECONDS)
        exchange.send(rng.choice((b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo")))
        exchange.rest()
        return exchange.outcome(_CLOSED)


def _at_once(address: Address, rng: Random) -> Outcome:
    """Sends several requests before it reads the first answer."""
    bodies = [post(_short(rng), closes=False) for _ in range(rng.randint(1, 5))]
    looks = [head("GET", "/v1/models", closes=False) for _ in range(rng.randint(1, 20))]
    with Exchange(address) as exchange:
        exchange.send(b"".join([*looks, *bodies, head("GET", "/v1/models")]))
        exchange.rest()
        statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", exchange.content)
        wanted, allowed = len(looks) + len(bodies) + 1, {b"200", str(REFUSED_FOR_NOW).encode()}
        if len(statuses) != wanted or not allowed.issuperset(statuses):
            raise Fault(f"{wanted} requests at once got {statuses}")
        return exchange.ended(200)


def _old(address: Address, rng: Random) -> Outcome:
    """A client of HTTP/1.0, or one that sends its body when the server is ready for it."""
    content = post(_short(rng) | {"stream": True})
    with Exchange(address) as exchange:
        if rng.random() < 0.5:
            exchange.send(content.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
        else:
            lines, _, body = content.partition(b"\r\n\r\n")
            exchange.send(lines + b"\r\nExpect: 100-continue\r\n\r\n")
            exchange.receive()
            if exchange.content.startswith(b"HTTP/1.1 100 "):
                exchange.content.clear()
                exchange.send(body)
        exchange.rest()
        return exchange.outcome((200,), streams=True)


def _looker(address: Address, rng: Random) -> Outcome:
    with Exchange(address) as exchange:
        exchange.send(head("GET", rng.choice(("/v1/models", "/metrics", "/health", "/"))))
        exchange.rest()
        return exchange.outcome((200,))


KINDS = (
    Kind(name="short text", weight=14, run=_answered(_short), asks=True),
    Kind(name="long text", weight=5, run=_answered(_long), asks=True),
    Kind(name="picture", weight=10, run=_answered(_picture), asks=True),
    Kind(name="speech", weight=6, run=_answered(_speech), asks=True),
    Kind(name="schema", weight=5, run=_answered(_schema), asks=True),
    Kind(name="tools", weight=5, run=_answered(_tools), asks=True),
    Kind(name="responses", weight=5, run=_answered(_response, "/v1/responses"), asks=True),
    Kind(name="transcription", weight=5, run=_transcription, asks=True),
    Kind(name="looks around", weight=3, run=_looker),
    Kind(name="leaves", weight=20, run=_leaver),
    Kind(name="reads slowly", weight=4, run=_slow_reader, asks=True),
    Kind(name="sends slowly", weight=3, run=_slow_writer, asks=True),
    Kind(name="oversized", weight=3, run=_oversized),
    Kind(name="broken off", weight=3, run=_broken),
    Kind(name="bad request", weight=5, run=_bad_request),
    Kind(name="stranger", weight=3, run=_stranger),
    Kind(name="half-open", weight=1, run=_half_open),
    Kind(name="at once", weight=2, run=_at_once),
    Kind(name="old or careful", weight=2, run=_old, asks=True),
)


def metrics(address: Address) -> dict[str, float]:
    """The server's counters. Raises Fault."""
    with Exchange(address) as exchange:
        exchange.send(head("GET", "/metrics"))
        exchange.rest()
        exchange.outcome((200,))
        lines = exchange.content.partition(b"\r\n\r\n")[2].decode().splitlines()
    pairs = (line.split() for line in lines if line.startswith("g4_"))
    return {name: float(number) for name, number in pairs}


def last_answer(address: Address, rng: Random, begun: Callable[[], None]) -> Outcome:
    """A client in mid-answer, or one that waits, as the server is told to end."""
    streams = rng.random() < 0.7
    limits = {"max_tokens": 1200, "temperature": 0, "stream": streams}
    body = _short(rng) | limits | {"response_format": long_schema(rng.choice((20, 100, 400)))}
    with Exchange(address) as exchange:
        exchange.send(post(body))
        if streams:
            exchange.receive()
        begun()
        exchange.rest()
        if not exchange.content:
            raise Fault("a server that ends says nothing to a client that waits")
        return exchange.outcome((200, 503), streams=streams)
