"""How many pieces are transcribed at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.model import LoadedModel

_LONGEST_PROMPT = 1500
"""Positions of a piece: 750 soft tokens, the prompt, and as much said as anybody can."""


def piece_batch_size(model: LoadedModel) -> int:
    """Pieces at once, by what memory this machine has; 1 to 8."""
    from ..engine.batch_size import batch_size

    return batch_size(model, _LONGEST_PROMPT)
