"""How far a transcript is from what was said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Word = TypeVar("Word", str, int)


def word_errors(heard: Sequence[Word], said: Sequence[Word]) -> int:
    """The least number of words to insert, delete or replace."""
    row = list(range(len(said) + 1))
    for i, word in enumerate(heard, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(said, start=1):
            cost = min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
            diagonal, row[j] = row[j], cost
    return row[-1]
