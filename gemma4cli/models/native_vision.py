"""The image encoders on the native part's kernels. Import only where the native part is in use."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .native_layers import norm
from .native_low_rank import gated
from .unified_vision import EPS, ExactLayerNorm
from .vision_tower import Turns, VisionAttention, VisionLayer, VisionMLP, VisionTower, axial_angles


class NativeVisionTower(VisionTower):
    def _turns(self, xs: mx.array, ys: mx.array, dtype: mx.Dtype) -> Turns:
        """Cosines and sines in one array, ``[1, N, 2, 2, head_dim/4]``."""
        config = self.config
        cos, sin = axial_angles(xs, ys, config.head_dim, config.rope_theta, dtype)
        return (mx.stack([cos[:, 0], sin[:, 0]], axis=-2)[None],)


class NativeVisionAttention(VisionAttention):
    def __call__(self, x: mx.array, turns: Turns) -> mx.array:
        """``x`` ``[B, N, D]``; ``turns``: see ``NativeVisionTower``."""
        config, (table,) = self.config, turns
        heads = (*x.shape[:2], -1, config.head_dim)
        eps = config.rms_norm_eps
        q = native.rotate(self.q_proj(x).reshape(heads), self.q_norm.weight, eps, table)
        k = native.rotate(self.k_proj(x).reshape(heads), self.k_norm.weight, eps, table)
        v = native.rotate(self.v_proj(x).reshape(heads), eps=eps)
        return self.o_proj(native.attention(q, k, v, 1.0))


class NativeVisionMLP(VisionMLP):
    def __call__(self, x: mx.array) -> mx.array:
        if self.gate_proj.clipped:
            inner = native.activate("gelu", self.gate_proj(x), self.up_proj(x))
        else:
            inner = gated(x, self.gate_proj.linear, self.up_proj.linear)
        return self.down_proj(inner)


class NativeVisionLayer(VisionLayer):
    def __call__(self, x: mx.array, turns: Turns) -> mx.array:
        attended = self.self_attn(norm(self.input_layernorm, x), turns)
        x = norm(self.post_attention_layernorm, attended, residual=x)
        inner = self.mlp(norm(self.pre_feedforward_layernorm, x))
        return norm(self.post_feedforward_layernorm, inner, residual=x)


class NativeExactLayerNorm(ExactLayerNorm):
    def __call__(self, x: mx.array) -> mx.array:
        return native.layer_norm(x, self.weight, EPS, self.bias)


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    VisionTower: NativeVisionTower,
    VisionAttention: NativeVisionAttention,
    VisionMLP: NativeVisionMLP,
    VisionLayer: NativeVisionLayer,
    ExactLayerNorm: NativeExactLayerNorm,
}
