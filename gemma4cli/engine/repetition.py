"""Notice when an answer has begun to repeat itself endlessly."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST_CYCLE = 64
_SHORTEST_RUN = 128
_REPEATS = 6


def is_repeating(ids: Sequence[int]) -> bool:
    """Whether ``ids`` end in one cycle of up to 64 tokens, said over and over.

    It takes six rounds and at least 128 tokens: a ruled line, a table or a refrain is shorter.
    """
    for cycle in range(1, _LONGEST_CYCLE + 1):
        run = max(_SHORTEST_RUN, _REPEATS * cycle)
        if len(ids) < run:
            continue
        tail = ids[-run:]
        if tail[cycle:] == tail[:-cycle]:
            return True
    return False
