"""Which keys the tokens of a prefill chunk see, as rules and as masks.

On a sliding layer a token sees ``window`` keys, including its own. In models with bidirectional
image blocks, the tokens of a block also see later tokens of the block on sliding layers, within the
window; full-attention layers stay causal. Source: create_masks_for_vision_model in transformers;
docs/parity.md on the 12B.

The native part follows a rule as it computes; MLX takes a mask, which is built when it is first
used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx

Mask = mx.array | str | None
"""A mask for MLX's attention: booleans ``[L, K]``, or ``[B, 1, L, K]`` for a batch; "causal"; or
None for no mask."""


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """Which keys ``length`` new tokens see on layers of one kind, after ``before`` stored keys.

    If ``causal``, a token sees no later one, unless both have the same number in ``blocks``, which
    is -1 outside of blocks; the tokens of a block are neighbors. It sees no key further back than
    ``window``, unless with ``blocks_beyond_window`` the key is of its block. The first ``padding``
    keys of each row of a batch are empty: such a key sees only itself, and no other token sees it.
    """

    length: int = 1
    before: int = 0
    causal: bool = True
    window: int | None = None
    blocks: tuple[int, ...] | None = None
    blocks_beyond_window: bool = False
    padding: tuple[int, ...] = ()

    @cached_property
    def mask(self) -> Mask:
        return _without_padding(self._of_any_row(), self.length, self.before, self.padding)

    @cached_property
    def block_numbers(self) -> mx.array | None:
        """``blocks`` as int32 ``[L]``."""
        return None if self.blocks is None else mx.array(self.blocks, mx.int32)

    @cached_property
    def empty_keys(self) -> mx.array | None:
        """``padding`` as int32 ``[B]``, or None if no row has any."""
        return mx.array(self.padding, mx.int32) if max(self.padding, default=0) > 0 else None

    def _of_any_row(self) -> Mask:
        """The mask without padding."""
        if not self.causal:
            return None
        if self.blocks is None and self.window is None:
            return "causal"
        q, k = _positions(self.length, self.before)
        visible = q >= k
        if self.blocks is not None and not self.blocks_beyond_window:
            visible = visible | _after(_same_block(self.blocks), self.before)
        if self.window is not None:
            visible = visible & (k > q - self.window)
        if self.blocks is not None and self.blocks_beyond_window:
            visible = visible | _after(_same_block(self.blocks), self.before)
        return visible


@dataclass(frozen=True, kw_only=True, slots=True)
class Masks:
    full: Visibility
    sliding: Visibility

    def of(self, layer_type: str) -> Mask:
        return self.rule(layer_type).mask

    def rule(self, layer_type: str) -> Visibility:
        return self.full if layer_type == "full_attention" else self.sliding


@dataclass(frozen=True, kw_only=True)
class RowMasks(Masks):
    """The masks of several rows whose image blocks differ; ``rows`` has those of each."""

    rows: Sequence[Masks]

    @classmethod
    def of_rows(cls, rows: Sequence[Masks]) -> Masks:
        """The masks of rows of one length; one of them if all are alike."""
        if all(each == rows[0] for each in rows):
            return rows[0]
        return cls(full=rows[0].full, sliding=rows[0].sliding, rows=rows)

    def of(self, layer_type: str) -> Mask:
        return self._full if layer_type == "full_attention" else self._sliding

    @cached_property
    def _full(self) -> Mask:
        return _stacked([each.full.mask for each in self.rows], self.full.length)

    @cached_property
    def _sliding(self) -> Mask:
        return _stacked([each.sliding.mask for each in self.rows], self.full.length)


def _stacked(masks: Sequence[Mask], length: int) -> Mask:
    """Masks ``[B, 1, L, L]``, or "causal" if all are."""
    if all(isinstance(each, str) for each in masks):
        return "causal"
    causal = mx.arange(length)[:, None] >= mx.arange(length)
    arrays = [each if isinstance(each, mx.array) else causal for each in masks]
    return mx.stack(arrays)[:, None]


_EVERYTHING = Visibility(causal=False)

NO_MASKS = Masks(full=_EVERYTHING, sliding=_EVERYTHING)
"""For single tokens: they see all keys that the caches give them."""


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
        return NO_MASKS
    numbers = tuple(blocks) if blocks is not None and any(b >= 0 for b in blocks) else None
    fits_window = offset + length <= window
    return Masks(
        full=Visibility(
            length=length, before=offset, blocks=numbers if blocks_on_full_layers else None
        ),
        sliding=Visibility(
            length=length,
            before=min(offset, window - 1),
            window=None if fits_window else window,
            blocks=numbers,
            blocks_beyond_window=blocks_on_full_layers,
        ),
    )


def make_batch_masks(*, length: int, offset: int, window: int, padding: Sequence[int]) -> Masks:
    """Masks for ``length`` new columns of several rows after ``offset`` cached ones.

    The first ``padding`` columns of each row are empty. An empty column sees only itself, because a
    softmax over no keys is NaN, and no other column sees it. All masks are causal.
    """
    kept = min(offset, window - 1)
    dropped = offset - kept
    fits_window = length == 1 or offset + length <= window
    return Masks(
        full=Visibility(length=length, before=offset, causal=length > 1, padding=tuple(padding)),
        sliding=Visibility(
            length=length,
            before=kept,
            causal=length > 1,
            window=None if fits_window else window,
            padding=tuple(p - dropped for p in padding),
        ),
    )


def _without_padding(mask: Mask, length: int, before: int, padding: Sequence[int]) -> Mask:
    """Hide each row's padding in a single row's mask; ``padding`` counts from the oldest key."""
    if max(padding, default=0) <= 0:
        return mask
    q, k = _positions(length, before)
    first = mx.array(list(padding))[:, None, None, None]
    visible = mask if isinstance(mask, mx.array) else q >= k
    return visible & ((k >= first) | (k == q))


def _positions(length: int, before: int) -> tuple[mx.array, mx.array]:
    """Query positions ``[L, 1]`` and key positions ``[1, before + L]``, counted from the oldest."""
    return mx.arange(before, before + length)[:, None], mx.arange(before + length)[None]


def _same_block(blocks: Sequence[int]) -> mx.array:
    """``[L, L]``: whether query and key are in the same image block."""
    ids = mx.array(list(blocks))
    return (ids[:, None] == ids[None]) & (ids[:, None] >= 0)


def _after(chunk_mask: mx.array, before: int) -> mx.array:
    """A chunk's mask after ``before`` columns of False, for the cached keys."""
    return mx.pad(chunk_mask, [(0, 0), (before, 0)], constant_values=False)
