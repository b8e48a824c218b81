"""How many prompts run in one batch, limited by the memory of their KV caches."""

from __future__ import annotations

from ..machine.device import device, memory_limit, memory_total
from ..machine.memory import cache_size
from .loaded_weights import numerics_of, sizes_of, weights_in_memory
from .model import LoadedModel

_MOST = 8
_MEMORY_SHARE = 0.1
"""Share of the device's memory that the caches of a batch may use."""
_CHUNK = 512
"""Positions beyond the window that sliding layers may hold until their buffer grows."""
_SPARE_SHARE = 0.5
"""Share, likewise, of what the weights leave of the memory for models."""


def batch_size(model: LoadedModel, positions: int, most: int = _MOST) -> int:
    """Prompts per batch, 1 to ``most``, if each takes ``positions`` including its answer."""
    found = device()
    return rows_within(
        row=cache_size(sizes_of(model).text, positions, numerics_of(model).item, _CHUNK).total,
        memory=memory_total(found),
        spare=memory_limit(found) - weights_in_memory(model).total,
        most=most,
    )


def rows_within(*, row: int, memory: int, spare: int, most: int = _MOST) -> int:
    """Rows of ``row`` bytes each on a device of ``memory`` bytes, ``spare`` of them for a batch."""
    room = min(_MEMORY_SHARE * memory, _SPARE_SHARE * spare)
    return max(1, min(most, int(room / row)))
