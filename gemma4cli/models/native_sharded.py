"""The native layers of one of several processes. Import only where the native part is in use.

A layer has two sums with the other processes, which are steps of MLX. So what follows attention is
three parts with a sum between each, and each part is recorded by itself.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .native_low_rank import expert_product
from .native_text import NativeDecoderLayer, NativeLanguageModel, NativeTextModel, Run
from .sharded_text import Group, Padded, ShardedLanguageModel, ShardedTextModel


class NativePadded(Padded):
    def of_tokens(self, x: mx.array, chosen: mx.array) -> mx.array:
        """As that of ``NativeLowRankSwitchLinear``."""
        return expert_product(self._padded(x), chosen, self.inner)


class NativeShardedLayer(NativeDecoderLayer):
    _group: Group
    _counts: bool

    def _is_native(self) -> bool:
        # Columns are added to a padded matrix's input by a step of MLX.
        if "_pads" not in self:
            self["_pads"] = any(isinstance(each, Padded) for each in self.modules())
        return not self["_pads"] and super()._is_native()

    def _rest(self, run: Run, x: mx.array, attended: mx.array, *per_layer: mx.array) -> mx.array:
        (projected,) = run(self._projected_heads, attended)
        own = projected if self._counts else mx.zeros_like(projected)
        h, *fed = run(self._fed, x, self._group.sum(own))
        # One sum for both, where there are experts.
        summed = self._group.sum(mx.stack(fed)) if len(fed) > 1 else [self._group.sum(fed[0])]
        (hidden,) = run(self._ended, h, *summed, *per_layer)
        return hidden

    def _projected_heads(self, attended: mx.array) -> list[mx.array]:
        return [self.self_attn.o_proj(attended)]


class NativeShardedTextModel(ShardedTextModel, NativeTextModel):
    pass


class NativeShardedLanguageModel(ShardedLanguageModel, NativeLanguageModel):
    pass


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    NativeDecoderLayer: NativeShardedLayer,
    NativeTextModel: NativeShardedTextModel,
    NativeLanguageModel: NativeShardedLanguageModel,
    Padded: NativePadded,
}
