"""What happens during a run, as data: one stream carries progress and text.

A renderer is one ``match event``. Closing the generator that yields events cancels the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .decoded import Image, VideoFrame

FinishReason = Literal["stop", "length", "context", "repetition"]
"""stop: the model ended its turn; length: max_tokens; context: the model's context is full;
repetition: the answer had begun to repeat itself endlessly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadProgress:
    """A stage of loading has begun: "config", "tokenizer" or "weights"."""

    stage: str
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeProgress:
    """A media file is about to be decoded."""

    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesDecoded:
    """An image, or the frames of a clip, were decoded: here they are, to be looked at."""

    source: str
    pictures: tuple[Image | VideoFrame, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoPlanned:
    """What the model will be given of a clip, before a frame for it is decoded.

    ``spacing`` is in seconds, None for a single frame. ``soft_tokens`` are those of frames and
    sound together; the sound comes in ``audio_pieces``, each behind the frames of its span.
    """

    source: str
    frames: int
    spacing: float | None
    soft_tokens: int
    sound_seconds: float
    audio_pieces: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSampled:
    """A clip was opened: the true times of its frames, in seconds."""

    source: str
    timestamps: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioDecoded:
    """A clip was decoded and lasts so many seconds."""

    source: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One line that a person should know: what was done to the input, or why."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeProgress:
    """``done`` of ``total`` media items (a video frame counts as one) have become soft tokens."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefillProgress:
    """``done`` of ``total`` prompt tokens are in the cache; those of earlier turns do not count."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ThoughtDelta:
    """A piece of the model's reasoning, never part of the answer."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Token counts. Of ``prompt_tokens``, ``soft_tokens`` stand for media, and ``cached_tokens``
    were in the KV cache from earlier turns."""

    prompt_tokens: int
    soft_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Seconds spent in the towers, in prefill (to the first token) and in decoding."""

    encode: float
    prefill: float
    decode: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The answer is complete.

    ``token_ids`` are all generated ids except the stop id. ``budgets`` are the soft tokens that
    each image of the prompt was allowed at most, in order.
    """

    reason: FinishReason
    text: str
    thoughts: str
    token_ids: tuple[int, ...]
    usage: Usage
    timings: Timings
    budgets: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFinished:
    """A segment of a clip was answered by itself; ``start`` and ``end`` are in seconds.

    ``answer`` is None where ``error`` says why there is none. ``timestamps`` are the true times
    of the frames.
    """

    start: float
    end: float
    answer: Finished | None
    error: Exception | None = None
    plan: VideoPlanned | None = None
    timestamps: tuple[float, ...] = ()


Event = (
    DecodeProgress
    | PicturesDecoded
    | AudioDecoded
    | VideoPlanned
    | VideoSampled
    | SegmentFinished
    | Notice
    | EncodeProgress
    | PrefillProgress
    | ThoughtDelta
    | TextDelta
    | Finished
)
