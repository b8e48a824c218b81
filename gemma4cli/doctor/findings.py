"""The findings of ``g4 doctor``, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]
"""note: works, but something is missing or slow; problem: g4 does not work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of one check; ``advice`` says what to change, ``seconds`` how long it took."""

    name: str
    value: str
    state: State = "ok"
    advice: str | None = None
    seconds: float | None = None
