"""Transcripts with times, read from subtitles and from Whisper's JSON, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import unescape
from typing import Any

from ..checked_json import JsonError, is_finite_number, parse
from ..transcript import Segment

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
"""Tags of HTML and of WebVTT, its times within a cue, and SubStation's positions."""


class TranscriptError(Exception):
    """A transcript has no times that can be read; the text says why."""


def read_segments(content: str, suffix: str) -> Sequence[Segment]:
    """The segments of a document, in the order of their starts; those without text are left out.

    ``suffix`` is a key of ``READERS``. Raises TranscriptError.
    """
    found = [each for each in READERS[suffix](content) if each.text]
    return sorted(found, key=lambda each: each.start)


def _cues(content: str) -> Iterator[Segment]:
    """Those of SubRip and of WebVTT; what stands above a cue's times is its name."""
    times: tuple[float, float] | None = None
    lines: list[str] = []
    for number, line in enumerate([*content.splitlines(), ""], start=1):
        if "-->" in line:
            found = _TIMES.fullmatch(line)
            if found is None or times is not None:
                raise TranscriptError(f"line {number}: is no time of a subtitle: {line.strip()!r}")
            times = _seconds(found.groups()[:4]), _seconds(found.groups()[4:])
            if times[1] < times[0]:
                raise TranscriptError(f"line {number}: ends before it starts")
        elif line.strip():
            if times is not None:
                lines.append(line)
        elif times is not None:
            yield Segment(start=times[0], end=times[1], text=_plain(" ".join(lines)))
            times, lines = None, []


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = (each or "0" for each in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _plain(text: str) -> str:
    return " ".join(unescape(_MARKUP.sub("", text)).split())


def _entries(content: str) -> Iterator[Segment]:
    """Those of JSON as Whisper and g4 write it."""
    try:
        data = parse(content)
    except JsonError as exc:
        raise TranscriptError(str(exc)) from exc
    entries = data.get("segments") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise TranscriptError('has no "segments"')
    for number, entry in enumerate(entries):
        place = f"segments[{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
            raise TranscriptError(f"{place} has no text")
        start: Any = entry.get("start")
        end: Any = entry.get("end")
        if not (is_finite_number(start) and is_finite_number(end)) or not 0 <= start <= end:
            raise TranscriptError(f"{place} has no start and end in seconds")
        yield Segment(start=float(start), end=float(end), text=" ".join(entry["text"].split()))


READERS: Mapping[str, Callable[[str], Iterator[Segment]]] = {
    ".json": _entries,
    ".vtt": _cues,
    ".srt": _cues,
}
"""By the suffixes of files; times of the first are the most exact."""
