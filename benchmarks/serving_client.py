"""A client that streams an answer and notes when each line of it came.

Nothing is parsed until the answer has ended, so that the client takes little of the cores.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from serving_process import Server


class WrongWorkError(Exception):
    """A server did other work than it was asked: the comparison would mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer, in seconds of the clock.

    Attributes:
        begin: When it was asked.
        times: When each part of its text came.
        tokens: How many tokens the server counted.
        prompt_tokens: How many tokens the server read.
    """

    begin: float
    times: list[float] = field(default_factory=list)
    tokens: int
    prompt_tokens: int

    @property
    def end(self) -> float:
        return self.times[-1]

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.times[0] - self.begin

    @property
    def rate(self) -> float:
        """Tokens per second after the first."""
        seconds = self.times[-1] - self.times[0]
        return (self.tokens - 1) / seconds if seconds else float("nan")

    def gaps(self, begin: float, end: float) -> list[float]:
        """Times between parts that overlap ``begin`` to ``end``."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [later - one for one, later in pairs if later > begin and one < end]


async def ask(
    server: Server, text: str, tokens: int, *, begun: asyncio.Event | None = None
) -> Answer:
    """Raises WrongWorkError unless ``tokens`` come; ``begun`` is set with the first."""
    body = {
        **server.fields,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    lines: list[tuple[float, bytes]] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    begin = perf_counter()
    writer.write(head.encode() + content)
    try:
        while line := await reader.readline():
            if line.startswith(b"data: "):
                lines.append((perf_counter(), line))
                if begun is not None and len(lines) == 3:
                    begun.set()
            elif line.startswith(b"HTTP/1") and b" 200 " not in line:
                rest = await reader.read()
                raise WrongWorkError(f"{line!r}: {rest[-500:]!r}")
    finally:
        writer.close()
    return answer_of(begin, lines, tokens)


def answer_of(begin: float, lines: list[tuple[float, bytes]], tokens: int) -> Answer:
    times: list[float] = []
    usage: dict[str, Any] = {}
    for when, line in lines:
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            break
        event = json.loads(data)
        usage = event.get("usage") or usage
        deltas = [choice.get("delta") or {} for choice in event.get("choices", ())]
        if any(
            each.get("content") or each.get("reasoning") or each.get("reasoning_content")
            for each in deltas
        ):
            times.append(when)
    count = usage.get("completion_tokens", usage.get("output_tokens", 0))
    read = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    if count != tokens or not times:
        raise WrongWorkError(f"{count} tokens, not {tokens}; {lines[-3:]!r}")
    return Answer(begin=begin, times=times, tokens=count, prompt_tokens=read)
