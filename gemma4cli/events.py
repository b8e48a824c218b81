"""The events of a run, as data: one stream carries progress and text.

A renderer is one ``match event``. Closing the generator that yields events cancels the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .messages import ToolCall

if TYPE_CHECKING:
    from .decoded import Image, VideoFrame

FinishReason = Literal["stop", "length", "context", "repetition", "tool_calls"]
"""stop: the model ended its turn; length: max_tokens; context: the model's context is full;
repetition: the answer repeated itself endlessly; tool_calls: the model waits for the results of
the functions that it called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadProgress:
    """A stage of loading starts; on a GPU also how far "weights" is.

    Attributes:
        stage: "config", "tokenizer" or "weights".
        model: The name of the model.
        done: Bytes of the language model's weights in memory, 0 until some are read.
        total: All of these bytes; 0 where weights are read when they are used.
    """

    stage: str
    model: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeProgress:
    """A media file is about to be decoded."""

    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesDecoded:
    """An image, or the frames of a clip, were decoded; ``pictures`` may be displayed.

    Their pixels are uint8 ``[H, W, 3]``.
    """

    source: str
    pictures: tuple[Image | VideoFrame, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoPlanned:
    """What the model will get of a clip; no frame is decoded yet.

    Attributes:
        source: The name of the clip.
        frames: The number of frames.
        spacing: Seconds between frames; None for a single frame.
        soft_tokens: Soft tokens of frames and sound together.
        sound_seconds: Length of the sound, 0 without sound.
        audio_pieces: Number of stretches that the sound is divided into; each follows the frames
            of the same span of time.
    """

    source: str
    frames: int
    spacing: float | None
    soft_tokens: int
    sound_seconds: float
    audio_pieces: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSampled:
    """A clip was decoded; ``timestamps`` are the actual times of its frames, in seconds."""

    source: str
    timestamps: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioDecoded:
    """An audio clip of ``seconds`` seconds was decoded."""

    source: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One line to show to a person: what was done to the input, and why."""

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
class TokenLogprob:
    """How likely a token of an answer was.

    Attributes:
        token: The id of the token.
        logprob: The natural logarithm of its probability, -9999 or more. It is that of the model at
            temperature 1; top-k, top-p, a schema and functions change which token is chosen, and
            not this.
        likeliest: As many tokens as were asked for, the likeliest first.
    """

    token: int
    logprob: float
    likeliest: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ThoughtDelta:
    """The next part of the model's reasoning, which is not part of the answer."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDelta:
    """The next part of the answer, with its tokens where ``GenerateOptions.logprobs`` asks."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallDelta:
    """The next part of a call of a function. The first one has no arguments yet.

    A call that turns out to be malformed, or is cut off, has no ToolCallFinished; its text then
    follows as TextDelta.

    Attributes:
        index: The number of the call in the answer, from 0.
        id: The id of the call.
        name: The function.
        arguments: The next part of the arguments' JSON.
    """

    index: int
    id: str
    name: str
    arguments: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallFinished:
    """A call of a function is complete.

    Attributes:
        index: The number of the call in the answer, as in its ToolCallDelta.
        call: The call.
    """

    index: int
    call: ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """A function that the model called has ended, or was not run.

    Attributes:
        call: The call.
        text: What the model is told.
        failed: Whether the function failed, or was not run.
    """

    call: ToolCall
    text: str
    failed: bool = False


AnswerDelta = ThoughtDelta | TextDelta | ToolCallDelta | ToolCallFinished
"""What an answer consists of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Token counts of an answer.

    Attributes:
        prompt_tokens: Tokens of the prompt, soft tokens included.
        soft_tokens: Tokens of the prompt that represent media.
        completion_tokens: Generated tokens, thoughts included.
        cached_tokens: Tokens of the prompt that were in the KV cache from earlier turns.
        guessed_tokens: Tokens that a drafter guessed.
        accepted_tokens: Those of them that the model chose too.
    """

    prompt_tokens: int = 0
    soft_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    guessed_tokens: int = 0
    accepted_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            soft_tokens=self.soft_tokens + other.soft_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            guessed_tokens=self.guessed_tokens + other.guessed_tokens,
            accepted_tokens=self.accepted_tokens + other.accepted_tokens,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """How long an answer took, in seconds.

    Attributes:
        encode: Time in the vision and audio towers.
        prefill: Time from then to the first token.
        decode: Time from then to the end of the answer.
    """

    encode: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0

    def __add__(self, other: Timings) -> Timings:
        return Timings(
            encode=self.encode + other.encode,
            prefill=self.prefill + other.prefill,
            decode=self.decode + other.decode,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The answer is complete.

    Attributes:
        reason: Why generation ended; see ``FinishReason``.
        text: The whole answer.
        thoughts: The model's reasoning; empty if it did not think.
        token_ids: All generated ids except the stop id.
        usage: Token counts.
        timings: Durations in seconds.
        budgets: The maximum soft tokens of each image in the prompt, in order.
        tool_calls: The functions that the model called, in order.
        logprobs: The tokens of the text where ``GenerateOptions.logprobs`` asks for them.
    """

    reason: FinishReason
    text: str
    thoughts: str
    token_ids: tuple[int, ...]
    usage: Usage
    timings: Timings
    budgets: tuple[int, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFinished:
    """The answer about one segment of a clip is complete, or has failed.

    Attributes:
        start: Start of the segment in the clip, in seconds.
        end: End of the segment in the clip, in seconds.
        answer: The answer; None if the segment failed.
        error: Why the segment failed; None if it did not.
        plan: What the model got of the segment.
        timestamps: The actual times of its frames, in seconds.
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
    | ToolCallDelta
    | ToolCallFinished
    | ToolResult
    | Finished
)
