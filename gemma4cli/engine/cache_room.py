"""Room for more positions in a KV cache, without having all of it in memory twice."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.attention import FullCache
from ..models.language import Cache
from .freed_buffers import release_buffers


def make_room(cache: Sequence[Cache], new: int) -> None:
    """Make room for ``new`` positions in the full layers.

    They are copied one after the other. Left to a step of the network, MLX would have the old and
    the new buffers of several layers at the same time.
    """
    for layer in cache:
        if isinstance(layer, FullCache):
            for _ in layer.make_room(new):
                release_buffers()
