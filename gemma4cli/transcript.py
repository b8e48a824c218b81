"""Transcripts, and the events of a transcription, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import Gemma4Error
from .events import Notice, Timings, Usage

Doubt = Literal["repetition", "length"]
"""Why a text may be wrong: the model repeated itself, or wrote more than can be spoken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of speech.

    Attributes:
        start: Its start, in seconds from the start of the recording as players show it.
        end: Its end, likewise.
        text: The transcript.
        translation: The translation; None if none was requested, or the model left it out.
        doubt: Why the text may be wrong; None if there is no sign of that.
        channel: The channel it was spoken on, from 1; None unless channels are kept apart.
    """

    start: float
    end: float
    text: str
    translation: str | None = None
    doubt: Doubt | None = None
    channel: int | None = None

    @property
    def label(self) -> str:
        """What comes before its text where several channels are together: "Channel 1: "."""
        return "" if self.channel is None else f"Channel {self.channel}: "


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingOpened:
    """Transcription of a recording starts.

    Attributes:
        recording: The index of the recording in the run.
        seconds: The length that its container declares; None if it declares none.
        resumed: The time in seconds up to which an earlier run transcribed it, else 0.
    """

    recording: int
    seconds: float | None
    resumed: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentReady:
    """A segment is final; those of a recording come in the order of their starts."""

    recording: int
    segment: Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceDone:
    """A recording is transcribed up to ``position`` seconds, in ``pieces`` pieces so far."""

    recording: int
    position: float
    pieces: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingFinished:
    """A recording is transcribed to its end.

    Attributes:
        recording: The index of the recording in the run.
        seconds: Its length.
        pieces: The number of pieces that the model heard.
        segments: All segments in order.
        usage: Token counts of this run only, even if it resumed an earlier one.
        timings: Durations in seconds, of this run only.
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
