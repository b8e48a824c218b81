"""Transcripts in the formats that people know from whisper. Pure functions on strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of speech, in seconds from the start of the recording."""

    start: float
    end: float
    text: str


def write_txt(segments: Sequence[Segment]) -> str:
    """One line a segment."""
    return "\n".join(segment.text for segment in segments)


def write_srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues, a comma before the milliseconds."""
    cues = (
        f"{number}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{_cue_text(s.text)}\n"
        for number, s in enumerate(segments, 1)
    )
    return "\n".join(cues)


def write_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT, in which <, > and & are markup and are escaped."""
    cues = (
        f"{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{_escaped(_cue_text(s.text))}\n"
        for s in segments
    )
    return "\n".join(["WEBVTT\n", *cues])


def write_tsv(segments: Sequence[Segment]) -> str:
    """Start and end in milliseconds, then the text; tabs and newlines in it become spaces."""
    rows = (
        f"{round(s.start * 1000)}\t{round(s.end * 1000)}\t{' '.join(s.text.split())}"
        for s in segments
    )
    return "\n".join(["start\tend\ttext", *rows])


FORMATS: Mapping[str, Callable[[Sequence[Segment]], str]] = {
    "txt": write_txt,
    "srt": write_srt,
    "vtt": write_vtt,
    "tsv": write_tsv,
}


def _clock(seconds: float, separator: str) -> str:
    """``hh:mm:ss`` and milliseconds."""
    total = round(seconds * 1000)
    minutes, rest = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{separator}{rest % 1000:03d}"


def _cue_text(text: str) -> str:
    """A blank line would end the cue, and ``-->`` would begin one."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line).replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
