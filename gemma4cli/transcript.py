"""What was said in a recording, and what happens while it is written down, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import Gemma4Error
from .events import Notice, Timings, Usage

Doubt = Literal["repetition", "length"]
"""Why a text may be wrong: the model repeated itself, or wrote more than can have been said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of speech, in seconds from the start of the recording.

    ``translation`` is there where one was asked for.
    """

    start: float
    end: float
    text: str
    translation: str | None = None
    doubt: Doubt | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingOpened:
    """Recording number ``recording`` of a run is being heard.

    ``seconds`` is how long it says it is, None where it does not say; ``resumed`` up to which
    second an earlier run has done the work.
    """

    recording: int
    seconds: float | None
    resumed: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentReady:
    """A stretch of speech is written down; those of a recording come in order."""

    recording: int
    segment: Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceDone:
    """The recording is done up to ``position`` seconds; ``pieces`` were found so far."""

    recording: int
    position: float
    pieces: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingFinished:
    """All of a recording is written down: its length in seconds, its pieces, its segments.

    ``usage`` and ``timings`` are those of this run, without what an earlier one had done.
    """

    recording: int
    seconds: float
    pieces: int
    segments: tuple[Segment, ...]
    usage: Usage
    timings: Timings


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingFailed:
    """A recording cannot be read, or no further; the others are not concerned."""

    recording: int
    error: Gemma4Error


TranscriptEvent = (
    RecordingOpened | SegmentReady | PieceDone | RecordingFinished | RecordingFailed | Notice
)
