"""The events of answers as lines of JSON, and back.

    {"prompt": 0, "event": "TextDelta", "data": {"text": "A red"}}
    {"error": {"message": ..., "class": ..., "fields": ...}}

An empty line means that the answer is still being made.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import get_args

from .. import events
from ..checked_json import JsonError, as_dataclass, parse, shown, whole
from ..errors import Gemma4Error
from ..events import Event
from .faults import error_of, fault_of

STILL_THERE = b"\n"
MOST_LINE = 64 << 20
"""Bytes; the longest line ends an answer and has all of its tokens."""

_OF_CLIENTS = frozenset(
    {
        events.DecodeProgress,
        events.PicturesDecoded,
        events.AudioDecoded,
        events.VideoPlanned,
        events.VideoSampled,
        events.SegmentFinished,
        events.ToolResult,
    }
)
"""Events of opening media and of running functions, which happens where those are."""


@cache
def _kinds() -> dict[str, type]:
    """The events of an answer by name."""
    return {kind.__name__: kind for kind in get_args(Event) if kind not in _OF_CLIENTS}


def event_line(prompt: int, event: Event) -> bytes:
    """An event of the answer to prompt number ``prompt``."""
    name = type(event).__name__
    return _line({"prompt": prompt, "event": name, "data": asdict(event)})


def error_line(error: Gemma4Error) -> bytes:
    """The error that ends all answers of a request."""
    return _line({"error": fault_of(error)})


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def read_line(line: bytes, prompts: int) -> tuple[int, Event] | None:
    """A prompt's number, below ``prompts``, and an event of its answer; None for an empty line.

    Raises the error that a line holds, and JsonError for what is no line of an answer.
    """
    if line == STILL_THERE:
        return None
    value = parse(line)
    if not isinstance(value, dict):
        raise JsonError("must be an object")
    if "error" in value:
        raise error_of(value["error"])
    prompt = whole(value.get("prompt"), "prompt", least=0, most=prompts - 1)
    kind, data = _kinds().get(str(value.get("event"))), value.get("data")
    if kind is None or not isinstance(data, dict):
        raise JsonError(f"must be an event of an answer, not {shown(value.get('event'))}", "event")
    event: Event = as_dataclass(kind, data, "data")
    return prompt, event
