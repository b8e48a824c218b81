"""Answers that have begun to repeat themselves: noticed while they are decoded, cut back after."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST_CYCLE = 64
_SHORTEST_RUN = 128
_REPEATS = 6
_LONGEST_CYCLE_OF_WORDS = 40
_ROUNDS = 3


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


def without_loop(text: str) -> str:
    """``text`` whose end says up to 40 words three times or more, and says them once instead.

    A further round may be torn off in its middle; it goes, too.
    """
    words = text.split()
    for cycle in range(1, _LONGEST_CYCLE_OF_WORDS + 1):
        repeated = 0
        while (
            repeated < len(words) - cycle and words[-1 - repeated] == words[-1 - repeated - cycle]
        ):
            repeated += 1
        if repeated >= (_ROUNDS - 1) * cycle:
            return " ".join(words[: len(words) - repeated])
    return text
