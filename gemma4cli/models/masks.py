"""Attention masks of a prefill chunk.

On a sliding layer a token sees ``window`` keys, including its own. In models with bidirectional
image blocks, the tokens of a block also see later tokens of the block on sliding layers, within the
window; full-attention layers stay causal. Source: create_masks_for_vision_model in transformers;
docs/parity.md on the 12B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

Mask = mx.array | str | None
"""A mask for MLX's attention: booleans ``[L, K]``, or ``[B, 1, L, K]`` for a batch; "causal"; or
None for no mask."""


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
    blocks_on_full_layers: bool = False,
) -> Masks:
    """Masks for ``length`` new tokens after ``offset`` cached ones.

    ``blocks`` holds the number of each new token's image block, or -1; a block never spans two
    chunks. With ``blocks_on_full_layers``, blocks are bidirectional on full-attention layers too,
    and beyond the window on sliding ones (the other reading of the 12B's reference).
    """
    if length == 1:
        # The rotating cache holds exactly the window, and a single token has no later ones.
        return Masks(full=None, sliding=None)
    has_blocks = blocks is not None and any(block >= 0 for block in blocks)
    fits_window = offset + length <= window
    if not has_blocks:
        sliding: Mask = "causal" if fits_window else _sliding(length, offset, window)
        return Masks(full="causal", sliding=sliding)
    in_block = _same_block(blocks or ())
    kept = min(offset, window - 1)
    if blocks_on_full_layers:
        return Masks(
            full=_causal(length, offset) | _after(in_block, offset),
            sliding=_sliding(length, offset, window) | _after(in_block, kept),
        )
    visible = _causal(length, kept) | _after(in_block, kept)
    return Masks(full="causal", sliding=visible & _inside_window(length, kept, window))


def make_batch_masks(*, length: int, offset: int, window: int, padding: Sequence[int]) -> Masks:
    """Masks for ``length`` new columns of several rows after ``offset`` cached ones.

    The first ``padding`` columns of each row are empty. An empty column sees only itself, because a
    softmax over no keys is NaN, and no other column sees it. All masks are causal.
    """
    single = make_masks(length=length, offset=offset, window=window)
    kept = min(offset, window - 1)
    dropped = offset - kept
    return Masks(
        full=_without_padding(single.full, length, offset, padding),
        sliding=_without_padding(single.sliding, length, kept, [p - dropped for p in padding]),
    )


def _without_padding(mask: Mask, length: int, before: int, padding: Sequence[int]) -> Mask:
    """Hide each row's padding in a single row's mask; ``padding`` counts from the oldest key."""
    if max(padding) <= 0:
        return mask
    q, k = _positions(length, before)
    first = mx.array(list(padding))[:, None, None, None]
    visible = mask if isinstance(mask, mx.array) else _causal(length, before)
    return visible & ((k >= first) | (k == q))


def _positions(length: int, before: int) -> tuple[mx.array, mx.array]:
    """Query positions ``[L, 1]`` and key positions ``[1, before + L]``, counted from the oldest."""
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
    """``[L, L]``: whether query and key are in the same image block."""
    ids = mx.array(list(blocks))
    return (ids[:, None] == ids[None]) & (ids[:, None] >= 0)


def _after(chunk_mask: mx.array, before: int) -> mx.array:
    """A chunk's mask after ``before`` columns of False, for the cached keys."""
    return mx.pad(chunk_mask, [(0, 0), (before, 0)], constant_values=False)
