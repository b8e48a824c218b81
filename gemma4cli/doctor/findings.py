"""What the examination of a machine yields, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]
"""note: works, but something is missing or slow; problem: g4 is not usable like this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at. ``advice`` says what to change, ``seconds`` what it took."""

    name: str
    value: str
    state: State = "ok"
    advice: str | None = None
    seconds: float | None = None
