"""Transcripts in the formats that Whisper made common. Pure functions on strings.

Subtitle formats consist of cues, the others of segments. Every document ends with a newline, unless
it is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..times import milliseconds, subtitle_time
from ..transcript import Segment
from .cues import CueStyle, make_cues
from .line_breaks import joined

_NOTE = "NOTE Times are those of pieces of speech; inside a piece they go by the length of text.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """What a document in any format is made of.

    ``style`` matters to subtitles only, ``translated`` (a translation was asked for) to JSON.
    """

    segments: Sequence[Segment]
    language: str | None = None
    style: CueStyle = field(default_factory=CueStyle)
    translated: bool = False


def write_txt(segments: Sequence[Segment]) -> str:
    """Plain text with one line per segment, which begins with its channel if it has one.

    Example:
        Path("talk.txt").write_text(write_txt(segments), encoding="utf-8")
    """
    lines = ((segment.label, _one_line(segment.text)) for segment in segments)
    return "".join(f"{label}{line}\n" for label, line in lines if line)


def write_srt(segments: Sequence[Segment], *, style: CueStyle | None = None) -> str:
    """SubRip subtitles.

    The format has no escapes: ``-->``, which would start a cue, loses a dash, and text that
    players interpret as markup stays as it is.

    Args:
        segments: Segments in order, with times in seconds.
        style: Line width and count, reading speed, durations. None is 2 lines of 42 columns.

    Example:
        segments = gemma4cli.transcribe(model, "talk.mp3")
        Path("talk.srt").write_text(write_srt(segments), encoding="utf-8")
    """
    cues = (
        f"{number}\n{subtitle_time(cue.start, ',')} --> {subtitle_time(cue.end, ',')}\n"
        + "".join(f"{line.replace('-->', '->')}\n" for line in cue.lines)
        for number, cue in enumerate(make_cues(segments, style or CueStyle()), 1)
    )
    return "\n".join(cues)


def write_vtt(segments: Sequence[Segment], *, style: CueStyle | None = None) -> str:
    """WebVTT subtitles, in which <, > and & are escaped.

    Args:
        segments: Segments in order, with times in seconds.
        style: Line width and count, reading speed, durations. None is 2 lines of 42 columns.

    Example:
        style = CueStyle(max_line_width=32)
        Path("talk.vtt").write_text(write_vtt(segments, style=style), encoding="utf-8")
    """
    cues = [
        f"{subtitle_time(cue.start, '.')} --> {subtitle_time(cue.end, '.')}\n"
        + "".join(f"{_escaped(line)}\n" for line in cue.lines)
        for cue in make_cues(segments, style or CueStyle())
    ]
    return "\n".join(["WEBVTT\n", *([_NOTE] if cues else []), *cues])


def write_tsv(segments: Sequence[Segment]) -> str:
    """A table of start and end in milliseconds and the text, whose tabs and newlines become spaces.

    Example:
        Path("talk.tsv").write_text(write_tsv(segments), encoding="utf-8")
    """
    rows = (
        f"{milliseconds(s.start)}\t{milliseconds(s.end)}\t{s.label}{_one_line(s.text)}\n"
        for s in segments
    )
    return "".join(["start\tend\ttext\n", *rows])


def write_json(
    segments: Sequence[Segment], *, language: str | None = None, translated: bool = False
) -> str:
    """A JSON document with Whisper's keys: the whole text, the segments (in seconds), the language.

    With ``translated``, a translation was asked for: it is null where the model left it out.

    Example:
        Path("talk.json").write_text(write_json(segments, language="German"), encoding="utf-8")
    """
    document = {
        "text": joined(segment.text for segment in segments),
        "segments": [_entry(i, each, translated) for i, each in enumerate(segments)],
        "language": language,
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": lambda transcript: write_txt(transcript.segments),
    "srt": lambda transcript: write_srt(transcript.segments, style=transcript.style),
    "vtt": lambda transcript: write_vtt(transcript.segments, style=transcript.style),
    "tsv": lambda transcript: write_tsv(transcript.segments),
    "json": lambda transcript: write_json(
        transcript.segments, language=transcript.language, translated=transcript.translated
    ),
}
"""File suffixes and their writers."""


def _entry(number: int, segment: Segment, translated: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": number,
        "start": milliseconds(segment.start) / 1000,
        "end": milliseconds(segment.end) / 1000,
        "text": segment.text,
    }
    if segment.channel is not None:
        entry["channel"] = segment.channel
    if translated or segment.translation is not None:
        entry["translation"] = segment.translation
    if segment.doubt is not None:
        entry["doubt"] = segment.doubt
    return entry


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
