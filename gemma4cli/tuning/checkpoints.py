"""Where a tuning is, in one file that is replaced whole, so that it goes on after any end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import mlx.core as mx

from ..checked_json import JsonError, parse
from ..errors import TuningError
from .adapter_files import load_tensors, save_tensors
from .steps import Parameters

FILE = "checkpoint.safetensors"
_FACTS = "g4_tuning"
_KINDS = ("parameters", "optimizer", "best")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What has happened until ``step``.

    Attributes:
        step: Steps that are done.
        seconds: How long they took, in all runs together.
        tokens: Tokens that were computed, without padding.
        first_loss: The validation loss before the first step.
        best_loss: The least validation loss.
        best_step: The step after which it was.
        without_gain: Validations since then.
        validated_step: The step after which the last validation was.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    first_loss: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    without_gain: int = 0
    validated_step: int = -1

    def after(self, *, seconds: float, tokens: int) -> Self:
        """After one more step."""
        return replace(
            self,
            step=self.step + 1,
            seconds=self.seconds + seconds,
            tokens=self.tokens + tokens,
        )

    def validated(self, loss: float) -> Self:
        """After a validation with that loss."""
        is_best = self.best_loss is None or loss < self.best_loss
        return replace(
            self,
            first_loss=loss if self.step == 0 else self.first_loss,
            best_loss=loss if is_best else self.best_loss,
            best_step=self.step if is_best else self.best_step,
            without_gain=0 if is_best else self.without_gain + 1,
            validated_step=self.step,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checkpoint:
    """Everything that the next steps depend on; ``best`` is empty without validation."""

    progress: Progress
    parameters: Parameters
    optimizer: Parameters
    best: Parameters = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Replace the checkpoint of ``folder``. Raises OSError."""
        tensors = {
            f"{kind}:{name}": value
            for kind in _KINDS
            for name, value in getattr(self, kind).items()
        }
        save_tensors(folder / FILE, tensors, {_FACTS: json.dumps(asdict(self.progress))})

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The checkpoint of ``folder``, if it has one. Raises TuningError for a damaged one."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            tensors, metadata = load_tensors(path)
            facts: Any = parse(metadata[_FACTS])
            progress = Progress(**facts)
        except (RuntimeError, ValueError, KeyError, TypeError, JsonError) as exc:
            raise TuningError(
                f"{path}: cannot be read ({exc}): begin again with --restart"
            ) from exc
        found: dict[str, Parameters] = {kind: {} for kind in _KINDS}
        for name, value in tensors.items():
            kind, _, inner = name.partition(":")
            found[kind][inner] = value
        mx.eval(found)
        return cls(progress=progress, **found)
