"""How a tuning is done: options with defaults that work. Imports neither MLX nor NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import OptionError

LEAST_STEPS = 200
"""Steps by default where examples are few, in ``MOST_ROUNDS`` at most."""
ROUNDS, MOST_ROUNDS = 3, 30
_MOST_SHARE = 16
_VALIDATIONS = 12
"""How often is validated in a run, by default."""
_FIRST_RATE, _FIRST_WIDTH, _WIDTH_POWER = 2e-4, 1536, 0.78
"""The default rate of a model of that width; wider ones need less."""
_WARMUP_SHARE, _MOST_WARMUP = 0.06, 40
_LAST_SHARE = 0.1
"""What is left of the rate at the last step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningOptions:
    """What a person may choose.

    Attributes:
        rank: The rank of the additions.
        alpha: Their factor times ``rank``; None is twice the rank.
        targets: See ``adapter.target_paths``.
        rate: The highest learning rate; None follows from the model's width.
        steps: Steps in all; None follows from ``rounds``.
        rounds: How often each example is seen; None follows from their number.
        batch: Examples in a step.
        validation: The share of the examples that is held out.
        patience: Validations without a better loss after which it stops; 0 never stops.
        longest: Tokens of the longest example; None is the model's context.
        recompute: Whether layers recompute their inner values; None is where memory needs it.
        decay: Weight decay.
        keep_share: How many kept examples a step has for each that it learns.
        keep_weight: What their distance from the model before counts, beside the loss.
        seed: Of the additions, the order and what is held out.
    """

    rank: int = 16
    alpha: float | None = None
    targets: tuple[str, ...] = ("attention", "mlp")
    rate: float | None = None
    steps: int | None = None
    rounds: int | None = None
    batch: int = 4
    validation: float = 0.1
    patience: int = 4
    longest: int | None = None
    recompute: bool | None = None
    decay: float = 0.01
    keep_share: float = 0.5
    keep_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rank", 1), ("batch", 1), ("steps", 1), ("rounds", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(f"{name} must be {least} or more, not {value}")
        if not 0 <= self.validation < 1:
            raise OptionError(f"validation must be from 0 to below 1, not {self.validation}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise OptionError(f"the rate must be above 0, not {self.rate}")
        if not 0 < self.keep_share <= _MOST_SHARE:
            raise OptionError(
                f"the share of what is kept must be above 0 and at most {_MOST_SHARE}, not "
                f"{self.keep_share}"
            )
        if not self.targets:
            raise OptionError("targets must name at least one group of layers")

    @property
    def kept_at_once(self) -> int:
        """Kept examples of a step."""
        return max(1, round(self.batch * self.keep_share))


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How many steps there are, with which rates, and when is validated."""

    steps: int
    rate: float
    validate_every: int

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 1: up in a straight line, then down in a cosine."""
        warmup = max(1, min(_MOST_WARMUP, round(self.steps * _WARMUP_SHARE)))
        if step <= warmup:
            return self.rate * step / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.rate * (_LAST_SHARE + (1 - _LAST_SHARE) * (1 + math.cos(math.pi * done)) / 2)

    def validates_after(self, step: int) -> bool:
        return step % self.validate_every == 0 or step == self.steps


def schedule_of(options: TuningOptions, in_round: int, width: int) -> Schedule:
    """The schedule for rounds of ``in_round`` steps, on a model of that width."""
    steps = options.steps
    if steps is None and options.rounds is not None:
        steps = options.rounds * in_round
    if steps is None:
        steps = max(ROUNDS * in_round, min(LEAST_STEPS, MOST_ROUNDS * in_round))
    rate = options.rate or _FIRST_RATE * (_FIRST_WIDTH / width) ** _WIDTH_POWER
    return Schedule(steps=steps, rate=rate, validate_every=max(1, -(-steps // _VALIDATIONS)))
