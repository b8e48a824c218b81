"""mlx-lm's decoder layer with fewer operations on a GPU.

The gate of the per-layer input is one, and so is what ends a layer: the residual and the layer's
factor. The results are the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import mlx.core as mx

from .mlx_lm_parts import DecoderLayer, geglu


@partial(mx.compile, shapeless=True)
def _ended(residual: mx.array, x: mx.array, factor: mx.array) -> mx.array:
    return (residual + x) * factor


class TextLayer(DecoderLayer):
    def __call__(
        self,
        x: mx.array,
        mask: mx.array | str | None = None,
        cache: Any = None,
        per_layer_input: mx.array | None = None,
        shared_kv: Any = None,
        offset: Any = None,
    ) -> tuple[mx.array, Any, Any]:
        attended, keys_values, offset = self.self_attn(
            self.input_layernorm(x), mask, cache, shared_kv=shared_kv, offset=offset
        )
        h = x + self.post_attention_layernorm(self._summed(attended))
        last = self.post_feedforward_layernorm(self._fed_forward(h))
        if per_layer_input is not None:
            h = h + last
            gate = geglu(self.per_layer_input_gate(h), per_layer_input)
            last = self.post_per_layer_input_norm(self.per_layer_projection(gate))
        return _ended(h, last, self.layer_scalar), keys_values, offset

    def _summed(self, attended: mx.array) -> mx.array:
        """What attention gives, with that of heads in other processes if there are any."""
        return attended

    def _dense(self, h: mx.array) -> mx.array:
        return self.mlp(self.pre_feedforward_layernorm(h))

    def _dense_and_experts(self, h: mx.array) -> tuple[mx.array, mx.array]:
        indices, weights = self.router(h)
        experts = self.experts(self.pre_feedforward_layernorm_2(h), indices, weights)
        return self.mlp(self.pre_feedforward_layernorm(h)), experts

    def _fed_forward(self, h: mx.array) -> mx.array:
        if not self.enable_moe:
            return self._dense(h)
        dense, experts = self._dense_and_experts(h)
        dense = self.post_feedforward_layernorm_1(dense)
        return dense + self.post_feedforward_layernorm_2(experts)
