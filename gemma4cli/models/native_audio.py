"""The audio tower on the native part's kernels. Import only where the native part is in use."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .audio_tower import (
    AudioAttention,
    AudioFeedForward,
    AudioLayer,
    AudioLightConv,
    AudioTower,
    SubsampleProjection,
    stem_ends,
)
from .native_layers import norm
from .tower_config import AudioConfig


class NativeSubsampleProjection(SubsampleProjection):
    def __call__(self, features: mx.array, lengths: Sequence[int] = ()) -> mx.array:
        x = native.convolve(features.astype(mx.float32)[..., None], self.layer0.conv.weight)
        x = _rectified(self.layer0.norm, x)
        ends = mx.array(stem_ends(lengths), mx.int32) if lengths else None
        x = _rectified(self.layer1.norm, native.convolve(x, self.layer1.conv.weight, ends))
        return self.input_proj_linear(x.reshape(*x.shape[:2], -1))


def _rectified(layer: nn.LayerNorm, x: mx.array) -> mx.array:
    return native.layer_norm(x, layer.weight, layer.eps, least=0.0)


class NativeAudioFeedForward(AudioFeedForward):
    def __call__(self, x: mx.array) -> mx.array:
        bound = _bound(self.config)
        inner = native.activate("silu", self.ffw_layer_1(norm(self.pre_layer_norm, x, bound=bound)))
        return norm(
            self.post_layer_norm,
            self.ffw_layer_2(inner),
            residual=x,
            share=self.config.residual_weight,
            bound=bound,
        )


class NativeAudioAttention(AudioAttention):
    def __call__(self, x: mx.array, positions: mx.array, counts: mx.array) -> mx.array:
        """``counts`` ``[B]`` of int32 holds the tokens of each clip; others as in the base."""
        config = self.config
        heads = (*x.shape[:2], config.num_heads, self.head_dim)
        scale = self.head_dim**-0.5 / math.log(2)
        q, k, v = (p(x).reshape(heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        out = native.local_attention(
            q,
            k,
            v,
            self.relative_k_proj(positions).reshape(-1, *heads[2:]),
            nn.softplus(self.per_dim_scale.astype(mx.float32)) * scale,
            k_scale=math.log(1 + math.e) / math.log(2),
            cap=config.logit_cap,
            before=config.context_left - 2,
            after=max(0, config.context_right - 1),
            nearest=config.context_left - 1,
            lengths=counts,
        )
        return self.post(out)


class NativeAudioLightConv(AudioLightConv):
    def __call__(self, x: mx.array) -> mx.array:
        gated = native.glu(self.linear_start(norm(self.pre_layer_norm, x)))
        out = native.convolve_past(gated, self.depthwise_conv1d.weight)
        out = native.activate("silu", norm(self.conv_norm, out, bound=_bound(self.config)))
        return x + self.linear_end(out)


class NativeAudioLayer(AudioLayer):
    def __call__(self, x: mx.array, positions: mx.array, counts: mx.array) -> mx.array:
        bound = _bound(self.config)
        x = self.feed_forward1(x)
        attended = self.self_attn(norm(self.norm_pre_attn, x, bound=bound), positions, counts)
        x = norm(self.norm_post_attn, attended, residual=x, bound=bound)
        x = self.feed_forward2(self.lconv1d(x))
        return norm(self.norm_out, x, bound=bound)


class NativeAudioTower(AudioTower):
    def _visible(self, counts: Sequence[int]) -> mx.array:
        """The counts themselves: the kernel goes by distance."""
        return mx.array(list(counts), mx.int32)


def _bound(config: AudioConfig) -> float:
    return min(config.gradient_clipping, mx.finfo(mx.float32).max)


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    SubsampleProjection: NativeSubsampleProjection,
    AudioFeedForward: NativeAudioFeedForward,
    AudioAttention: NativeAudioAttention,
    AudioLightConv: NativeAudioLightConv,
    AudioLayer: NativeAudioLayer,
    AudioTower: NativeAudioTower,
}
