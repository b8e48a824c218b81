"""Text that a model has begun to say over and over, cut back to once."""

from __future__ import annotations

_LONGEST_CYCLE = 40
_ROUNDS = 3


def without_loop(text: str) -> str:
    """``text`` whose end says up to 40 words three times or more, and says them once instead.

    A further round may be torn off in its middle; it goes, too.
    """
    words = text.split()
    for cycle in range(1, _LONGEST_CYCLE + 1):
        repeated = 0
        while (
            repeated < len(words) - cycle and words[-1 - repeated] == words[-1 - repeated - cycle]
        ):
            repeated += 1
        if repeated >= (_ROUNDS - 1) * cycle:
            return " ".join(words[: len(words) - repeated])
    return text
