"""The findings of ``g4 doctor``, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "note", "problem"]
"""note: works, but something is missing or slow; problem: g4 does not work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of one check; ``advice`` says what to change, ``seconds`` how long it took.

    ``fault`` is what the check did not expect; None usually.
    """

    name: str
    value: str
    state: State = "ok"
    advice: str | None = None
    seconds: float | None = None
    fault: Exception | None = field(default=None, repr=False, compare=False)


def checked(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check; what it does not expect is a finding, too, and ends no other."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - the report is for machines where things go wrong
        what = " ".join(f"{type(error).__name__}: {error}".split())
        advice = "report it with the output of g4 doctor --debug"
        yield Finding(name=name, value=what, state="note", advice=advice, fault=error)
