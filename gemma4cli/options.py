"""Options of a run. Every default stands here, once.

``None`` means "as the checkpoint says"; the engine resolves it, nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from .errors import OptionError

DType = Literal["auto", "float32", "bfloat16", "float16"]
Budget = int | Literal["auto"]
SOFT_TOKEN_BUDGETS = (70, 140, 280, 560, 1120)
"""Soft tokens that an image may take at most; the tower was trained for these (model card)."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """How a checkpoint is loaded.

    ``dtype`` "auto" keeps the checkpoint's own on a GPU and takes float32 on a CPU, where
    bfloat16 is many times slower. ``unified_full_attention_blocks`` opens the image blocks of
    the 12B on its full-attention layers too (see docs/parity.md); the default follows the rule
    of the other models.
    """

    dtype: DType = "auto"
    unified_full_attention_blocks: bool = False

    def __post_init__(self) -> None:
        _require(
            self.dtype in get_args(DType),
            f"dtype must be one of {', '.join(get_args(DType))}, not {self.dtype!r}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateOptions:
    """How an answer is generated.

    ``temperature`` 0 is greedy. ``max_tokens`` counts thoughts and answer together.
    ``repetition_guard`` ends an answer that has begun to repeat itself endlessly. ``schema`` is
    the text of a JSON Schema that the answer has to fit.
    """

    max_tokens: int = 2048
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    think: bool = False
    prefill_step_size: int = 512
    repetition_guard: bool = True
    schema: str | None = None

    def __post_init__(self) -> None:
        _require(
            self.schema is None or not self.think, "an answer by a schema has no room for thoughts"
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
            self.prefill_step_size >= 1,
            f"the prefill step must be 1 or more, not {self.prefill_step_size}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaOptions:
    """How media are sampled before the model sees them.

    ``budget`` and ``video_budget`` are soft tokens per image and per frame; "auto" goes by what is
    asked about an image and by its size (processing/budget.py). ``video_fps`` asks
    for that many frames a second, ``video_max_frames`` bounds them either way. ``video_start``
    and ``video_end`` are seconds.
    """

    budget: Budget | None = None
    video_budget: int | None = None
    video_max_frames: int | None = None
    video_fps: float | None = None
    video_start: float = 0.0
    video_end: float | None = None
    video_sound: bool = True

    def __post_init__(self) -> None:
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
    """What is made of recordings.

    ``language`` is what is spoken and ``translate_to`` what it is to be said in, both by English
    name (``languages.language_name``); None leaves the first open and the second out. ``names``
    are words that may be said. ``batch`` pieces are transcribed at once; None lets memory decide.
    ``longest_piece`` is in seconds; None is what the model takes, at most 30 (model card).
    """

    language: str | None = None
    translate_to: str | None = None
    names: str | None = None
    batch: int | None = None
    longest_piece: float | None = None

    def __post_init__(self) -> None:
        _require(
            self.batch is None or self.batch >= 1, f"the batch must be 1 or more, not {self.batch}"
        )
        _require(
            self.longest_piece is None or 2 <= self.longest_piece <= 30,
            f"pieces must be 2 to 30 seconds long, not {self.longest_piece}",
        )
