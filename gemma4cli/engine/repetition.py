"""Detect answers that repeat themselves while they are decoded, and trim the repetition."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST_CYCLE = 64
_SHORTEST_RUN = 128
_REPEATS = 6
_LONGEST_CYCLE_OF_WORDS = 40
_ROUNDS = 3


def is_repeating(ids: Sequence[int]) -> bool:
    """Whether ``ids`` end in a repeated cycle of up to 64 tokens.

    Six repeats and at least 128 tokens are required: a ruled line, a table or a refrain is shorter.
    """
    if len(ids) < _SHORTEST_RUN:
        return False
    newest = ids[: -_LONGEST_CYCLE - 5 : -1]
    for cycle in range(1, _LONGEST_CYCLE + 1):
        # This is asked after each token, and nearly all cycles are excluded by their last tokens.
        if newest[cycle] != newest[0] or newest[cycle : cycle + 4] != newest[:4]:
            continue
        run = max(_SHORTEST_RUN, _REPEATS * cycle)
        if len(ids) < run:
            continue
        tail = ids[-run:]
        if tail[cycle:] == tail[:-cycle]:
            return True
    return False


def without_loop(text: str) -> str:
    """Trim a cycle of up to 40 words that ends ``text`` three times or more to one occurrence.

    A partial repeat at the end is removed too.
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
