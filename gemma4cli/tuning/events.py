"""The events of a tuning, as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..events import Notice


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplesRead:
    """``done`` of ``total`` samples have become examples; their media are decoded and encoded."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptsAnswered:
    """The model has answered ``done`` of ``total`` prompts at which it is to stay as it is."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningPlanned:
    """What will be done.

    Attributes:
        examples: Examples that are learned from.
        held_out: Those that are not, by which it is measured.
        skipped: Samples that are too long.
        kept: Examples of what the model is to keep.
        tokens: Tokens of the examples of one round; ``targets`` of them are learned.
        targets: See ``tokens``.
        parameters: Numbers that are trained.
        steps: Steps in all.
        done: Steps that an earlier run did.
        rate: The highest learning rate.
        memory: Bytes that a step needs at most, weights included.
        recompute: Whether layers recompute their inner values.
        rows: Of how many of the longest examples a step's gradients are computed at a time.
    """

    examples: int
    held_out: int
    skipped: int
    kept: int
    tokens: int
    targets: int
    parameters: int
    steps: int
    done: int
    rate: float
    memory: int
    recompute: bool
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningChecked:
    """Nothing is wrong with what is to be learned.

    Attributes:
        longest: Tokens of the longest example.
        origin: Where that is from.
        step_seconds: How long a step took whose length is in the middle.
        seconds: How long all steps will take, validations included.
        loss: The mean loss of that step's learned tokens, in nats.
    """

    longest: int
    origin: str
    step_seconds: float
    seconds: float
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StepDone:
    """A step is done.

    Attributes:
        step: Its number, from 1.
        steps: Steps in all.
        loss: The mean loss of the learned tokens, in nats.
        rate: The learning rate.
        tokens_per_second: Tokens of the last steps per second, without padding.
        seconds_left: How long the others will take, validations included.
        tokens: Tokens until now.
        seconds: Seconds until now.
        drift: The mean distance of the kept tokens' distributions from those before, in nats.
    """

    step: int
    steps: int
    loss: float
    rate: float
    tokens_per_second: float
    seconds_left: float
    tokens: int
    seconds: float
    drift: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Validated:
    """The held-out examples' loss after ``step``; ``best``: it is the least until now."""

    step: int
    loss: float
    best: bool
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningFinished:
    """The adapter is in ``folder``.

    Attributes:
        folder: The folder.
        step: Steps that were done.
        steps: Steps that there could have been.
        adapter_step: The step after which the adapter was as it is written: the best one.
        loss: The last step's loss.
        first_validation_loss: Before the first step; None without validation.
        validation_loss: The adapter's.
        seconds: How long all steps took.
    """

    folder: Path
    step: int
    steps: int
    adapter_step: int
    loss: float | None
    first_validation_loss: float | None
    validation_loss: float | None
    seconds: float


TuningEvent = (
    SamplesRead
    | PromptsAnswered
    | TuningPlanned
    | TuningChecked
    | StepDone
    | Validated
    | TuningFinished
    | Notice
)
