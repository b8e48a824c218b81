"""Transcripts in the formats that people know from whisper. Pure functions on strings.

Subtitle formats hold cues, the others segments. Every file ends with a newline.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..times import milliseconds, subtitle_time
from ..transcript import Segment
from .cues import CueStyle, shape
from .line_breaks import joined

_NOTE = "NOTE Times are those of pieces of speech; inside a piece they go by the length of text.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """What a file is made of; ``style`` matters to subtitles only."""

    segments: Sequence[Segment]
    language: str | None = None
    style: CueStyle = field(default_factory=CueStyle)


def write_txt(transcript: Transcript) -> str:
    """One line a segment."""
    lines = (_one_line(segment.text) for segment in transcript.segments)
    return "".join(f"{line}\n" for line in lines if line)


def write_srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, a comma before the milliseconds.

    It has no escapes: ``-->``, which would begin a cue, loses a dash, and what a player takes for
    markup stays as it is.
    """
    cues = (
        f"{number}\n{subtitle_time(cue.start, ',')} --> {subtitle_time(cue.end, ',')}\n"
        + "".join(f"{line.replace('-->', '->')}\n" for line in cue.lines)
        for number, cue in enumerate(shape(transcript.segments, transcript.style), 1)
    )
    return "\n".join(cues)


def write_vtt(transcript: Transcript) -> str:
    """WebVTT, in which <, > and & are markup and are escaped."""
    cues = [
        f"{subtitle_time(cue.start, '.')} --> {subtitle_time(cue.end, '.')}\n"
        + "".join(f"{_escaped(line)}\n" for line in cue.lines)
        for cue in shape(transcript.segments, transcript.style)
    ]
    return "\n".join(["WEBVTT\n", *([_NOTE] if cues else []), *cues])


def write_tsv(transcript: Transcript) -> str:
    """Start and end in milliseconds, then the text; tabs and newlines in it become spaces."""
    rows = (
        f"{milliseconds(s.start)}\t{milliseconds(s.end)}\t{_one_line(s.text)}\n"
        for s in transcript.segments
    )
    return "".join(["start\tend\ttext\n", *rows])


def write_json(transcript: Transcript) -> str:
    """The whole text, the segments and the language, under whisper's names."""
    document = {
        "text": joined(segment.text for segment in transcript.segments),
        "segments": [_entry(i, segment) for i, segment in enumerate(transcript.segments)],
        "language": transcript.language,
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": write_txt,
    "srt": write_srt,
    "vtt": write_vtt,
    "tsv": write_tsv,
    "json": write_json,
}
"""Suffixes of files and how they are written."""


def _entry(number: int, segment: Segment) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": number,
        "start": milliseconds(segment.start) / 1000,
        "end": milliseconds(segment.end) / 1000,
        "text": segment.text,
    }
    if segment.translation is not None:
        entry["translation"] = segment.translation
    if segment.doubt is not None:
        entry["doubt"] = segment.doubt
    return entry


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
