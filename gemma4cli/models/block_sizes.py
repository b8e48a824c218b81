"""How much is computed or stored together: what layers and the estimate of memory both need."""

from __future__ import annotations

VISION_QUERIES = 2048
"""Patches whose attention weights the vision tower holds at once, where no kernel fuses them."""

MOST_SCORES = 1 << 26
"""Scores of queries and keys of a full-attention layer that are stored at once at most."""

_GROUPS = (64, 32)
"""Neighboring numbers that share a scale in a quantized KV cache."""


def group_size(width: int) -> int | None:
    """The first size of groups that divides heads of ``width`` numbers, or None."""
    return next((size for size in _GROUPS if width % size == 0), None)
