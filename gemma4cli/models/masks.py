"""Attention masks of a prefill chunk.

A sliding layer sees ``window`` keys, itself included. Where the config opens image blocks, tokens
of one block see each other on sliding layers, still inside the window; full layers stay causal.
Source: create_masks_for_vision_model in transformers; docs/parity.md on the 12B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

Mask = mx.array | str | None
"""What MLX's attention takes: a boolean ``[L, K]``, for rows of a batch ``[B, 1, L, K]``, "causal",
or None for no mask."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Masks:
    full: Mask
    sliding: Mask

    def of(self, layer_type: str) -> Mask:
        return self.full if layer_type == "full_attention" else self.sliding


def make_masks(
    *,
    length: int,
    offset: int,
    window: int,
    blocks: Sequence[int] | None = None,
    open_full_layers: bool = False,
) -> Masks:
    """Masks for ``length`` new tokens behind ``offset`` cached ones.

    ``blocks`` holds for each new token the number of its image block, or -1; a block never spans
    two chunks. ``open_full_layers`` opens the blocks on full layers too, and beyond the window on
    sliding ones (the other reading of the 12B's reference).
    """
    if length == 1:
        # The rotating cache holds just the window, and one token has nothing ahead of it.
        return Masks(full=None, sliding=None)
    has_blocks = blocks is not None and any(block >= 0 for block in blocks)
    fits_window = offset + length <= window
    if not has_blocks:
        sliding: Mask = "causal" if fits_window else _sliding(length, offset, window)
        return Masks(full="causal", sliding=sliding)
    same = _same_block(blocks or ())
    kept = min(offset, window - 1)
    if open_full_layers:
        return Masks(
            full=_causal(length, offset) | _behind(same, offset),
            sliding=_sliding(length, offset, window) | _behind(same, kept),
        )
    causal = _causal(length, kept) | _behind(same, kept)
    return Masks(full="causal", sliding=causal & _inside_window(length, kept, window))


def make_batch_masks(*, length: int, offset: int, window: int, padding: Sequence[int]) -> Masks:
    """Masks for ``length`` new columns of several rows behind ``offset`` cached ones.

    The first ``padding`` columns of each row are empty and seen by none but themselves: a softmax
    over nothing would be no number. Image blocks stay closed.
    """
    single = make_masks(length=length, offset=offset, window=window)
    kept = min(offset, window - 1)
    dropped = offset - kept
    return Masks(
        full=_without_padding(single.full, length, offset, padding),
        sliding=_without_padding(single.sliding, length, kept, [p - dropped for p in padding]),
    )


def _without_padding(mask: Mask, length: int, before: int, padding: Sequence[int]) -> Mask:
    """A single row's mask for every row; ``padding`` counts from the oldest key on."""
    if max(padding) <= 0:
        return mask
    q, k = _positions(length, before)
    first = mx.array(list(padding))[:, None, None, None]
    seen = mask if isinstance(mask, mx.array) else _causal(length, before)
    return seen & ((k >= first) | (k == q))


def _positions(length: int, before: int) -> tuple[mx.array, mx.array]:
    """Query positions ``[L, 1]`` and key positions ``[1, before + L]``, from the oldest key on."""
    return mx.arange(before, before + length)[:, None], mx.arange(before + length)[None]


def _causal(length: int, before: int) -> mx.array:
    q, k = _positions(length, before)
    return q >= k


def _inside_window(length: int, before: int, window: int) -> mx.array:
    q, k = _positions(length, before)
    return k > q - window


def _sliding(length: int, offset: int, window: int) -> mx.array:
    kept = min(offset, window - 1)
    return _causal(length, kept) & _inside_window(length, kept, window)


def _same_block(blocks: Sequence[int]) -> mx.array:
    """``[L, L]``: query and key belong to one image block."""
    ids = mx.array(list(blocks))
    return (ids[:, None] == ids[None]) & (ids[:, None] >= 0)


def _behind(chunk_mask: mx.array, before: int) -> mx.array:
    """The mask of a chunk with ``before`` closed columns for the cached keys in front."""
    return mx.pad(chunk_mask, [(0, 0), (before, 0)], constant_values=False)
