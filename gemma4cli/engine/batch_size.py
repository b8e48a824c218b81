"""How many prompts run in one batch, limited by the memory of their KV caches."""

from __future__ import annotations

import os

from .model import LoadedModel

_MOST = 8
_MEMORY_SHARE = 0.1
"""Share of the machine's memory that the caches of a batch may use."""


def batch_size(model: LoadedModel, positions: int) -> int:
    """Prompts per batch, 1 to 8, if each takes ``positions`` positions including its answer."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    row = positions * bytes_per_position(model)
    return max(1, min(_MOST, int(_MEMORY_SHARE * memory / row)))


def bytes_per_position(model: LoadedModel) -> int:
    """Bytes of the keys and values of one position, in float32."""
    text = model.network.config.text
    sizes = {
        "sliding_attention": text.num_kv_heads * text.head_dim,
        "full_attention": (text.num_global_kv_heads or text.num_kv_heads) * text.global_head_dim,
    }
    stored = text.layer_types[: text.num_stored_layers]
    return sum(2 * 4 * sizes[kind] for kind in stored)
