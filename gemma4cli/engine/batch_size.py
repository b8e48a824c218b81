"""How many prompts run at once, by what their caches take of this machine's memory."""

from __future__ import annotations

import os

from .model import LoadedModel

_MOST = 8
_MEMORY_SHARE = 0.1
"""Of the machine's memory that the caches of a batch may fill."""


def batch_size(model: LoadedModel, positions: int) -> int:
    """Prompts at once, 1 to 8, that take so many ``positions`` each with their answers."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    row = positions * bytes_per_position(model)
    return max(1, min(_MOST, int(_MEMORY_SHARE * memory / row)))


def bytes_per_position(model: LoadedModel) -> int:
    """What the keys and values of one position take, in float32."""
    text = model.network.config.text
    sizes = {
        "sliding_attention": text.num_kv_heads * text.head_dim,
        "full_attention": (text.num_global_kv_heads or text.num_kv_heads) * text.global_head_dim,
    }
    stored = text.layer_types[: text.num_stored_layers]
    return sum(2 * 4 * sizes[kind] for kind in stored)
