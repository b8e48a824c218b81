"""Names that could have been meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

_SIMILAR = 0.78
_SHORTEST_PREFIX = 3


def similar(name: str, names: Collection[str]) -> list[str]:
    """The names that could have been meant: close ones, then those that begin alike."""
    typed = name if name.startswith("-") and not name.startswith("--") else name.lower()
    close = get_close_matches(typed, names, n=2, cutoff=_SIMILAR)
    if len(typed.strip("-")) >= _SHORTEST_PREFIX:
        close += [each for each in names if each.startswith(typed) and each not in close]
    return close
