"""The first of several processes, if this is it; what a run in one process need not import."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .team import Leader

_LEADERS: list[Leader] = []


def leader() -> Leader | None:
    """This process's end, if it is the first of several."""
    return _LEADERS[0] if _LEADERS else None


def set_leader(made: Leader) -> None:
    """From now on, models are loaded by all processes."""
    _LEADERS[:] = [made]
