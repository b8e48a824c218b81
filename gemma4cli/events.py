"""What happens during a run, as data: one stream carries progress and text.

A renderer is one ``match event``. Closing the generator that yields events cancels the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
class VideoSampled:
    """A clip was opened: the true times of its frames, and how much of its sound is heard."""

    source: str
    timestamps: tuple[float, ...]
    sound_seconds: float


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
    """The answer is complete. ``token_ids`` are all generated ids but the stop id."""

    reason: FinishReason
    text: str
    thoughts: str
    token_ids: tuple[int, ...]
    usage: Usage
    timings: Timings


Event = (
    DecodeProgress
    | AudioDecoded
    | VideoSampled
    | Notice
    | EncodeProgress
    | PrefillProgress
    | ThoughtDelta
    | TextDelta
    | Finished
)
