"""Options of a run. Every default is defined here, once.

``None`` means "the checkpoint's own value"; only the engine resolves it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf
from typing import Literal, get_args

from .errors import OptionError

DType = Literal["auto", "float32", "bfloat16", "float16"]
Budget = int | Literal["auto"]
ToolChoice = Literal["auto", "required", "none"]
SOFT_TOKEN_BUDGETS = (70, 140, 280, 560, 1120)
"""Maximum soft tokens per image; the vision tower was trained for these (model card)."""

SERVER_PORT = 11535
"""Of ``g4 serve``, and of a server's address without a scheme and a port."""

MOST_LOGPROBS = 20
"""The most likeliest tokens that are named for one place."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


def _require_track(track: int | str | None) -> None:
    _require(
        track is None or (bool(track.strip("0 ")) if isinstance(track, str) else track >= 1),
        f"the audio track must be a number from 1 or a language, not {track!r}",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """How a checkpoint is loaded.

    Attributes:
        dtype: The dtype to compute in. "auto" is the checkpoint's own on a GPU, and float32 on a
            CPU, where bfloat16 is many times slower; with the native part it rounds the factors of
            large products only.
        unified_full_attention_blocks: Make the image blocks of the 12B bidirectional on its
            full-attention layers too (see docs/parity.md); the default follows the rule of the
            other models.
        draft: The drafter, which makes decoding faster and changes no answer: a folder, a hub id,
            "none", or "auto" for the one that is named after the model, if it is in the cache.
        kv_bits: Bits of each number in the KV cache of full-attention layers: 8, or None, which
            stores them in the dtype. Those layers take nearly all of the cache of a long context.
            Prompts are then answered one by one, never in a batch.

    Raises:
        OptionError: A value is out of range.
    """

    dtype: DType = "auto"
    unified_full_attention_blocks: bool = False
    draft: str = "auto"
    kv_bits: int | None = None

    def __post_init__(self) -> None:
        _require(self.kv_bits in (None, 8), f"KV bits must be 8, not {self.kv_bits}")
        _require(
            self.dtype in get_args(DType),
            f"dtype must be one of {', '.join(get_args(DType))}, not {self.dtype!r}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenBias:
    """What is added to the logit of a token, by its id, before the next token is chosen."""

    token: int
    bias: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateOptions:
    """How an answer is generated.

    Attributes:
        max_tokens: Most tokens to generate, thoughts and answer together.
        temperature: 0 is greedy; None is the checkpoint's own.
        top_p: Sample from the likeliest tokens that together have this probability, above 0 and
            at most 1; None is the checkpoint's own.
        top_k: Sample from this many likeliest tokens, 0 means all; None is the checkpoint's own.
        seed: Makes sampling repeatable.
        think: Let the model think first; not possible with ``schema``.
        prefill_step_size: Prompt tokens computed at once during prefill; None chooses by the
            memory of a GPU, 512 to 2,048, and is 512 on a CPU. Answers do not depend on it.
        repetition_guard: End an answer that repeats itself endlessly.
        schema: The text of a JSON Schema; decoding is constrained to it.
        tools: JSON text of a list of the functions that the answer may call, in OpenAI's form; its
            calls are constrained to their parameters. With ``schema``, an answer without calls
            matches that. None reads no calls.
        tool_choice: Whether the answer may call functions ("auto"), consists of calls ("required"),
            or has none ("none").
        parallel_calls: Whether an answer may call several functions.
        stop: Texts before which an answer ends; thoughts may contain them.
        logprobs: Measure how likely each token of the text was, and this many likeliest ones at its
            place, 0 to 20; see ``events.TokenLogprob``. No drafter is used then. None does not.
        logit_bias: Makes tokens likelier or, with a negative bias, less likely; each token once.
            It applies to thoughts too. A grammar is kept all the same, and ``logprobs`` are those
            without it.

    Raises:
        OptionError: A value is out of range, or ``schema`` is combined with ``think`` or ``stop``.
    """

    max_tokens: int = 2048
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    think: bool = False
    prefill_step_size: int | None = None
    repetition_guard: bool = True
    schema: str | None = None
    tools: str | None = None
    tool_choice: ToolChoice = "auto"
    parallel_calls: bool = True
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    logit_bias: tuple[TokenBias, ...] = ()

    def __post_init__(self) -> None:
        _require(
            self.schema is None or not self.think,
            "an answer by a schema cannot contain thoughts: pass --no-think",
        )
        _require(
            self.tool_choice in get_args(ToolChoice),
            f"the tool choice must be one of {', '.join(get_args(ToolChoice))}, "
            f"not {self.tool_choice!r}",
        )
        _require(
            self.schema is None or not self.stop,
            "an answer by a schema ends with its document: leave out --stop",
        )
        _require("" not in self.stop, "a text to stop at must not be empty")
        _require(
            self.logprobs is None or 0 <= self.logprobs <= MOST_LOGPROBS,
            f"logprobs must be 0 to {MOST_LOGPROBS}, not {self.logprobs}",
        )
        _require(
            all(each.token >= 0 and abs(each.bias) < inf for each in self.logit_bias),
            "a biased token must have an id of 0 or more, and a finite bias",
        )
        _require(
            len({each.token for each in self.logit_bias}) == len(self.logit_bias),
            "a token must not have two biases",
        )
        _require(self.max_tokens >= 1, f"max tokens must be 1 or more, not {self.max_tokens}")
        _require(
            self.temperature is None or 0 <= self.temperature < inf,
            f"temperature must be 0 or more, and finite, not {self.temperature}",
        )
        _require(
            self.top_p is None or 0 < self.top_p <= 1,
            f"top-p must be above 0 and at most 1, not {self.top_p}",
        )
        _require(
            self.top_k is None or self.top_k >= 0, f"top-k must be 0 or more, not {self.top_k}"
        )
        _require(
            self.prefill_step_size is None or self.prefill_step_size >= 1,
            f"the prefill step must be 1 or more, not {self.prefill_step_size}",
        )

    @property
    def is_constrained(self) -> bool:
        """Whether decoding chooses among the tokens that a grammar allows."""
        return self.schema is not None or self.tools is not None

    @property
    def facts(self) -> dict[str, object]:
        """What an answer depends on: all options but the prefill step and the logprobs."""
        found = asdict(self)
        del found["prefill_step_size"], found["logprobs"]
        if self.tools is None:
            for name in ("tools", "tool_choice", "parallel_calls"):
                del found[name]
        if not self.stop:  # as in records of before there was this option
            del found["stop"]
        if not self.logit_bias:
            del found["logit_bias"]
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaOptions:
    """How media are sampled before the model sees them.

    Attributes:
        budget: Maximum soft tokens per image, one of ``SOFT_TOKEN_BUDGETS``; "auto" chooses by
            the question and the size of the image; None is the checkpoint's own.
        video_budget: Maximum soft tokens per video frame, one of ``SOFT_TOKEN_BUDGETS``; None is
            the checkpoint's own.
        video_max_frames: Most frames of a video; None is the checkpoint's own.
        video_fps: Frames per second, up to ``video_max_frames``; None spreads the frames evenly.
        video_start: Start of the part of a video to sample, in seconds.
        video_end: End of that part, in seconds; None is the end of the video.
        video_sound: Whether the model hears the sound of a video, if it takes audio.
        track: The audio track of recordings and videos with several: its number from 1, or its
            language by name or code; None is the file's default one.

    Raises:
        OptionError: A value is out of range.
    """

    budget: Budget | None = None
    video_budget: int | None = None
    video_max_frames: int | None = None
    video_fps: float | None = None
    video_start: float = 0.0
    video_end: float | None = None
    video_sound: bool = True
    track: int | str | None = None

    def __post_init__(self) -> None:
        _require_track(self.track)
        budgets = ", ".join(map(str, SOFT_TOKEN_BUDGETS))
        _require(
            self.budget in (None, "auto", *SOFT_TOKEN_BUDGETS),
            f"the budget must be one of {budgets} or auto, not {self.budget}",
        )
        _require(
            self.video_budget in (None, *SOFT_TOKEN_BUDGETS),
            f"the budget must be one of {budgets}, not {self.video_budget}",
        )
        _require(
            self.video_max_frames is None or self.video_max_frames >= 1,
            f"video frames must be 1 or more, not {self.video_max_frames}",
        )
        _require(
            self.video_fps is None or 0 < self.video_fps < inf,
            f"frames per second must be above 0, and finite, not {self.video_fps}",
        )
        _require(
            0 <= self.video_start < inf,
            f"the start must be 0 or more, and finite, not {self.video_start}",
        )
        _require(
            self.video_end is None or self.video_end > self.video_start,
            f"the end ({self.video_end}) must come after the start ({self.video_start})",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscribeOptions:
    """How recordings are transcribed.

    Attributes:
        language: The English name of the spoken language (``languages.language_name``); None
            transcribes whatever language is spoken.
        translate_to: The English name of the language to translate to; None does not translate.
        names: Names and terms that may occur, as text for the prompt.
        track: The audio track of a file with several: its number from 1, or its language by name
            or code; None is the file's default one, in ``language`` if there is one.
        channels: "mix" mixes channels to one; "separate" transcribes each for itself; a number
            from 1 picks one.
        batch: How many pieces to transcribe at once; None chooses by the free memory.
        longest_piece: The longest piece in seconds, 2 to 30; None is the most that the model
            takes, up to 30 (model card).

    Raises:
        OptionError: A value is out of range.
    """

    language: str | None = None
    translate_to: str | None = None
    names: str | None = None
    track: int | str | None = None
    channels: int | Literal["mix", "separate"] = "mix"
    batch: int | None = None
    longest_piece: float | None = None

    def __post_init__(self) -> None:
        _require_track(self.track)
        _require(
            self.channels in ("mix", "separate")
            or (isinstance(self.channels, int) and self.channels >= 1),
            f"channels must be mix, separate or a number from 1, not {self.channels!r}",
        )
        _require(
            self.batch is None or self.batch >= 1, f"the batch must be 1 or more, not {self.batch}"
        )
        _require(
            self.longest_piece is None or 2 <= self.longest_piece <= 30,
            f"pieces must be 2 to 30 seconds long, not {self.longest_piece}",
        )
