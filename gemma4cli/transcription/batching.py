"""How many pieces are transcribed at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.model import LoadedModel

_MOST = 8
_MEMORY_SHARE = 0.1
"""Of the machine's memory that the caches of a batch may fill."""
_LONGEST_PROMPT = 1500
"""Positions of a piece: 750 soft tokens, the prompt, and as much said as anybody can."""


def batch_size(model: LoadedModel) -> int:
    """Pieces at once, by what their caches take of this machine's memory; 1 to 8."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    piece = _LONGEST_PROMPT * bytes_per_position(model)
    return max(1, min(_MOST, int(_MEMORY_SHARE * memory / piece)))


def bytes_per_position(model: LoadedModel) -> int:
    """What the keys and values of one position take, in float32."""
    text = model.network.config.text
    sizes = {
        "sliding_attention": text.num_kv_heads * text.head_dim,
        "full_attention": (text.num_global_kv_heads or text.num_kv_heads) * text.global_head_dim,
    }
    stored = text.layer_types[: text.num_stored_layers]
    return sum(2 * 4 * sizes[kind] for kind in stored)
