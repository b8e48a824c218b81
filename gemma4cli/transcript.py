"""Transcripts, and the events of a transcription, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import Gemma4Error
from .events import Notice, Timings, Usage

Doubt = Literal["repetition", "length"]
"""Why a text may be wrong: the model repeated itself, or wrote more than anyone can speak."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of speech; ``start`` and ``end`` are in seconds from the start of the recording.

    ``translation`` is None unless one was requested, and if the model left it out.
    """

    start: float
    end: float
    text: str
    translation: str | None = None
    doubt: Doubt | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingOpened:
    """Transcription of recording number ``recording`` of a run, counted from 0, begins.

    ``seconds`` is the length its container declares, None if it declares none. ``resumed`` is the
    second up to which an earlier run transcribed it, 0 if there was none.
    """

    recording: int
    seconds: float | None
    resumed: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentReady:
    """A segment is final; those of a recording come in order."""

    recording: int
    segment: Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceDone:
    """The recording is transcribed up to ``position`` seconds, in ``pieces`` pieces so far."""

    recording: int
    position: float
    pieces: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingFinished:
    """A recording of ``seconds`` seconds is transcribed: all its segments, from ``pieces`` pieces.

    ``usage`` and ``timings`` are those of this run only, even if it resumed an earlier one.
    """

    recording: int
    seconds: float
    pieces: int
    segments: tuple[Segment, ...]
    usage: Usage
    timings: Timings


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingFailed:
    """A recording cannot be read, or not to its end; the run continues with the next one."""

    recording: int
    error: Gemma4Error


TranscriptEvent = (
    RecordingOpened | SegmentReady | PieceDone | RecordingFinished | RecordingFailed | Notice
)
