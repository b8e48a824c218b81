"""The language model of one of several processes, each with a part of every layer.

Each computes the heads and the inner columns that it holds. Their sums are what one process would
compute, so the hidden states between are the same in all: two sums of ``[B, L, D]`` a layer, and
one for each lookup in a vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import mlx.core as mx
import mlx.nn as nn

from .attention import KeysValues, Stored
from .language import LanguageModel, TextModel
from .mlx_lm_parts import RowCache, SwitchLinear
from .shares import Range, Share, parts
from .text_config import LayerType, TextConfig
from .text_layer import TextLayer


class Group(Protocol):
    """Processes that compute the same, each with a part of the numbers."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum(self, part: mx.array) -> mx.array:
        """The sum of all processes' arrays, in each of them."""

    def gather(self, part: mx.array) -> mx.array:
        """All processes' arrays of one shape, ``[size, ...]``."""


def pad_groups(network: nn.Module, padding: Mapping[str, tuple[int, int]]) -> None:
    """Give matrices of a new network the columns of whole groups; see ``Share.padding``."""
    modules = dict(network.named_modules())
    for path, (before, after) in padding.items():
        layer = modules[path]
        *sizes, width = layer.weight.shape
        width += before + after
        made: nn.Module
        if isinstance(layer, SwitchLinear):
            made = SwitchLinear(width, sizes[1], sizes[0], bias=False)
        else:
            made = nn.Linear(width, sizes[0], bias=False)
        parent, _, name = path.rpartition(".")
        modules[parent][name] = made


class Padded(nn.Module):
    """A matrix whose first and last columns belong to other processes."""

    def __init__(self, inner: nn.Module, before: int, after: int) -> None:
        super().__init__()
        self.inner = inner
        self._before, self._after = before, after

    @property
    def padding(self) -> tuple[int, int]:
        """Columns of others before and after its own."""
        return self._before, self._after

    def __call__(self, x: mx.array, *rest: mx.array, **more: bool) -> mx.array:
        return self.inner(self._padded(x), *rest, **more)

    def _padded(self, x: mx.array) -> mx.array:
        return mx.pad(x, [(0, 0)] * (x.ndim - 1) + [(self._before, self._after)])


class ShardedLayer(TextLayer):
    _group: Group
    _counts: bool

    def _summed(self, attended: mx.array) -> mx.array:
        return self._group.sum(attended if self._counts else mx.zeros_like(attended))

    def _dense(self, h: mx.array) -> mx.array:
        return self._group.sum(super()._dense(h))

    def _dense_and_experts(self, h: mx.array) -> tuple[mx.array, mx.array]:
        both = self._group.sum(mx.stack(list(super()._dense_and_experts(h))))
        return both[0], both[1]


class ShardedTextModel(TextModel):
    _group: Group
    _share: Share

    def looked_up(self, ids: mx.array) -> list[mx.array]:
        """Embeddings ``[B, L, D]``, and the scaled rows of the per-layer table if there is one.

        Both are in one sum.
        """
        config, share = self.config, self._share
        own = [self._own_rows(self.embed_tokens, ids, share.rows, config.hidden_size**0.5)]
        if config.ple_size:
            table, bounds = self.embed_tokens_per_layer, share.rows_per_layer
            own.append(self._own_rows(table, ids, bounds, config.ple_size**0.5))
        if len(own) == 1:
            return [self._group.sum(own[0])]
        summed = self._group.sum(mx.concatenate(own, axis=-1))
        return list(mx.split(summed, [config.hidden_size], axis=-1))

    def per_layer_of(self, rows: mx.array, embeddings: mx.array) -> mx.array:
        """Per-layer inputs, from such rows."""
        return self._mixed(rows, embeddings)

    def _own_rows(
        self, table: nn.Embedding, ids: mx.array, bounds: Range, scale: float
    ) -> mx.array:
        """The scaled rows that this process has, and zeros."""
        first, last = bounds
        own = (ids >= first) & (ids < last)
        rows = self._scaled_rows(table, mx.where(own, ids - first, 0), scale)
        return mx.where(own[..., None], rows, 0.0)


class ShardedLanguageModel(LanguageModel):
    is_divided = True
    _group: Group
    _share: Share

    @property
    def sizes(self) -> TextConfig:
        return self._share.sizes

    def _scores(self, hidden: mx.array) -> mx.array:
        own = self._own_scores(hidden)
        bounds = parts(self.config.vocab_size, self._share.count)
        widths = [last - first for first, last in bounds]
        missing = max(widths) - own.shape[-1]
        if missing:
            own = mx.pad(own, [(0, 0)] * (own.ndim - 1) + [(0, missing)])
        gathered = self._group.gather(own)
        return mx.concatenate(
            [each[..., :width] for each, width in zip(gathered, widths, strict=True)], axis=-1
        )

    def newest_keys_values(self, cache: Sequence[RowCache]) -> dict[str, KeysValues]:
        found = super().newest_keys_values(cache)
        for kind in sorted(set(self.config.layer_types) & found.keys()):
            keys, values = found[kind]
            found[kind] = self._whole(kind, keys), self._whole(kind, values)
        return found

    def _whole(self, kind: LayerType, stored: Stored) -> Stored:
        if isinstance(stored, mx.array):
            return self._of_all_heads(kind, stored)
        values, scales, biases = (self._of_all_heads(kind, each) for each in stored)
        return values, scales, biases

    def _of_all_heads(self, kind: LayerType, stored: mx.array) -> mx.array:
        shares = [replace(self._share, rank=rank) for rank in range(self._share.count)]
        held = [share.heads(kind) for share in shares]
        most = max(each.number_of_keys for each in held)
        missing = most - stored.shape[1]
        gathered = self._group.gather(mx.pad(stored, [(0, 0), (0, missing), (0, 0), (0, 0)]))
        # A head that several processes hold is the same in all of them.
        heads: dict[int, mx.array] = {}
        for each, part in zip(held, gathered, strict=True):
            first, last = each.keys
            heads |= {head: part[:, head - first : head - first + 1] for head in range(first, last)}
        return mx.concatenate([heads[head] for head in sorted(heads)], axis=1)

    def _own_scores(self, hidden: mx.array) -> mx.array:
        return super()._scores(hidden)
