"""The audio tower of E2B and E4B: log-mel frames of a clip to features of 40 ms each.

Two strided convolutions, then Conformer layers with chunked local attention. Source:
Gemma4AudioModel in transformers. Clips of different lengths can share a batch; padding after a
clip's end does not affect its tokens. Attribute names equal the checkpoint's keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from .layers import ClippedLinear, clip
from .tower_config import AudioConfig

_NORM_EPS = 1e-6
"""The epsilon of norms to which the reference does not pass the config's."""


def _limit(x: mx.array, bound: float) -> mx.array:
    """Clip to +-bound, or to the dtype's range if that is smaller."""
    bound = min(bound, mx.finfo(x.dtype).max)
    return clip(x, -bound, bound)


class SubsampleLayer(nn.Module):
    """A stride-2 convolution over time and frequency, channels last."""

    def __init__(self, in_channels: int, out_channels: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(out_channels, eps=eps, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return nn.relu(self.norm(self.conv(x)))


class SubsampleProjection(nn.Module):
    """Log-mel ``[B, T, F]`` to ``[B, ceil(ceil(T/2)/2), D]``."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        first, second = config.conv_channels
        self.layer0 = SubsampleLayer(1, first, config.rms_norm_eps)
        self.layer1 = SubsampleLayer(first, second, config.rms_norm_eps)
        # The reference derives this size from the first layer's channels: 128, like the mel bins.
        self.input_proj_linear = nn.Linear((first // 4) * second, config.hidden_size, bias=False)

    def __call__(self, features: mx.array, lengths: Sequence[int] = ()) -> mx.array:
        """``lengths``: see ``AudioTower``."""
        x = self.layer0(features.astype(self.layer0.conv.weight.dtype)[..., None])
        if lengths:
            # A clip's last token reads one step past its end, where an unpadded clip has zeros.
            ends = mx.array(stem_ends(lengths))
            inside = mx.arange(x.shape[1]) < ends[:, None]
            x = mx.where(inside[..., None, None], x, 0)
        x = self.layer1(x)
        return self.input_proj_linear(x.reshape(*x.shape[:2], -1))


class AudioFeedForward(nn.Module):
    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        width, clipped = config.hidden_size, config.clipped_linears
        self.ffw_layer_1 = ClippedLinear(width, 4 * width, clipped=clipped)
        self.ffw_layer_2 = ClippedLinear(4 * width, width, clipped=clipped)
        self.pre_layer_norm = nn.RMSNorm(width, eps=_NORM_EPS)
        self.post_layer_norm = nn.RMSNorm(width, eps=_NORM_EPS)

    def __call__(self, x: mx.array) -> mx.array:
        bound = self.config.gradient_clipping
        inner = nn.silu(self.ffw_layer_1(self.pre_layer_norm(_limit(x, bound))))
        out = self.post_layer_norm(_limit(self.ffw_layer_2(inner), bound))
        return x + out * self.config.residual_weight


@partial(mx.compile, shapeless=True)
def _scores(
    content: mx.array, distance: mx.array, mask: mx.array, cap: float, invalid: float
) -> mx.array:
    """The capped sum of both kinds of logits; ``invalid`` where ``mask`` excludes a key."""
    return mx.where(mask, mx.tanh((content + distance) / cap) * cap, invalid)


class AudioAttention(nn.Module):
    """Chunked local attention with relative position logits.

    All queries of a chunk share one window of keys. Queries are scaled by a learned factor per
    dimension, keys by a constant.
    """

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        width, clipped = config.hidden_size, config.clipped_linears
        self.head_dim = width // config.num_heads
        self.q_proj = ClippedLinear(width, width, clipped=clipped)
        self.k_proj = ClippedLinear(width, width, clipped=clipped)
        self.v_proj = ClippedLinear(width, width, clipped=clipped)
        self.post = ClippedLinear(width, width, clipped=clipped)
        self.relative_k_proj = nn.Linear(width, width, bias=False)
        self.per_dim_scale = mx.zeros((self.head_dim,))

    def __call__(self, x: mx.array, positions: mx.array, mask: mx.array) -> mx.array:
        """``x`` ``[B, T, D]``; ``positions`` ``[R, D]``; ``mask`` ``[chunks, chunk, context]``.

        The first axis of ``mask`` holds the chunks of the first clip, then those of the next.
        """
        config = self.config
        clips, length = x.shape[:2]
        shape = (clips, length, config.num_heads, self.head_dim)
        q, k, v = (
            p(x).astype(mx.float32).reshape(shape) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        scale = self.head_dim**-0.5 / math.log(2)
        q = q * (scale * nn.softplus(self.per_dim_scale.astype(mx.float32)))
        k = k * (math.log(1 + math.e) / math.log(2))

        # [heads, chunks, chunk or context, head_dim]
        q = self._chunks(q).transpose(2, 0, 1, 3)
        k, v = (self._contexts(a).transpose(2, 0, 1, 3) for a in (k, v))
        relative = self.relative_k_proj(positions).astype(mx.float32)
        relative = relative.reshape(-1, *shape[2:]).transpose(1, 2, 0)[:, None]

        content, distance = q @ k.swapaxes(-1, -2), _shift(q @ relative, k.shape[2])
        logits = _scores(content, distance, mask, config.logit_cap, config.invalid_logit)
        out = mx.softmax(logits, axis=-1) @ v
        out = out.transpose(1, 2, 0, 3).reshape(clips, -1, config.hidden_size)[:, :length]
        return self.post(out.astype(x.dtype))

    def _chunks(self, x: mx.array) -> mx.array:
        """``[B, T, H, d]`` to ``[chunks, chunk, H, d]``, zero-padded after the last token."""
        size = self.config.chunk_size
        x = mx.pad(x, [(0, 0), (0, -x.shape[1] % size), (0, 0), (0, 0)])
        return x.reshape(-1, size, *x.shape[2:])

    def _contexts(self, x: mx.array) -> mx.array:
        """``[B, T, H, d]`` to the keys that each chunk can see, ``[chunks, context, H, d]``."""
        config, length = self.config, x.shape[1]
        chunks = _chunk_count(config, length)
        before = config.context_left - 1
        context = _context_size(config)
        after = (chunks - 1) * config.chunk_size + context - before - length
        x = mx.pad(x, [(0, 0), (before, after), (0, 0), (0, 0)])
        starts = mx.arange(chunks)[:, None] * config.chunk_size
        return x[:, starts + mx.arange(context)[None]].flatten(0, 1)


def _chunk_count(config: AudioConfig, length: int) -> int:
    return -(-length // config.chunk_size)


def _context_size(config: AudioConfig) -> int:
    return config.chunk_size + config.context_left - 1 + config.context_right


def _shift(x: mx.array, context: int) -> mx.array:
    """Align relative position logits ``[H, chunks, chunk, R]`` with their keys.

    Source: appendix B of Transformer-XL (arXiv 1901.02860).
    """
    heads, chunks, chunk, count = x.shape
    x = mx.pad(x, [(0, 0), (0, 0), (0, 0), (0, context + 1 - count)])
    x = x.reshape(heads, chunks, -1)[..., : chunk * context]
    return x.reshape(heads, chunks, chunk, context)


class AudioLightConv(nn.Module):
    """Gated causal depthwise convolution over time."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        width, clipped = config.hidden_size, config.clipped_linears
        self.linear_start = ClippedLinear(width, 2 * width, clipped=clipped)
        self.linear_end = ClippedLinear(width, width, clipped=clipped)
        self.depthwise_conv1d = nn.Conv1d(
            width, width, config.conv_kernel_size, groups=width, bias=False
        )
        self.pre_layer_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.conv_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)

    def __call__(self, x: mx.array) -> mx.array:
        gated = nn.glu(self.linear_start(self.pre_layer_norm(x)), axis=-1)
        past = self.config.conv_kernel_size - 1
        out = self.depthwise_conv1d(mx.pad(gated, [(0, 0), (past, 0), (0, 0)]))
        out = self.conv_norm(_limit(out, self.config.gradient_clipping))
        return x + self.linear_end(nn.silu(out))


class AudioLayer(nn.Module):
    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.feed_forward1 = AudioFeedForward(config)
        self.feed_forward2 = AudioFeedForward(config)
        self.self_attn = AudioAttention(config)
        self.lconv1d = AudioLightConv(config)
        self.norm_pre_attn = nn.RMSNorm(config.hidden_size, eps=_NORM_EPS)
        self.norm_post_attn = nn.RMSNorm(config.hidden_size, eps=_NORM_EPS)
        self.norm_out = nn.RMSNorm(config.hidden_size, eps=_NORM_EPS)

    def __call__(self, x: mx.array, positions: mx.array, mask: mx.array) -> mx.array:
        bound = self.config.gradient_clipping
        x = self.feed_forward1(x)
        attended = self.self_attn(self.norm_pre_attn(_limit(x, bound)), positions, mask)
        x = x + self.norm_post_attn(_limit(attended, bound))
        x = self.feed_forward2(self.lconv1d(x))
        return self.norm_out(_limit(x, bound))


class AudioTower(nn.Module):
    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.subsample_conv_projection = SubsampleProjection(config)
        self.layers = [AudioLayer(config) for _ in range(config.num_layers)]
        self.output_proj = nn.Linear(config.hidden_size, config.output_dims)

    def __call__(self, features: mx.array, lengths: Sequence[int] = ()) -> mx.array:
        """Log-mel ``[B, T, F]`` to ``[B, n, output_dims]``.

        ``lengths`` holds the frame count of each clip if they differ; shorter clips are zero-padded
        at the end. Only the first ``token_count`` tokens of such a row are valid.
        """
        hidden = self.subsample_conv_projection(features, lengths)
        positions = relative_positions(self.config).astype(hidden.dtype)
        counts = [token_count(length) for length in lengths] or [hidden.shape[1]] * len(hidden)
        visible = self._visible(counts)
        for layer in self.layers:
            hidden = layer(hidden, positions, visible)
        return self.output_proj(hidden)

    def _visible(self, counts: Sequence[int]) -> mx.array:
        """Which keys the layers' queries see, for ``counts`` tokens of each clip."""
        return _clip_masks(self.config, counts)


def relative_positions(config: AudioConfig) -> mx.array:
    """Sinusoids ``[context/2 + 1, D]`` of the distances context/2 ... 0, sines first."""
    half = config.hidden_size // 2
    step = math.log(10_000.0) / max(half - 1, 1)
    timescales = mx.exp(mx.arange(half, dtype=mx.float32) * -step)
    distances = mx.arange(_context_size(config) // 2, -1, -1, dtype=mx.float32)
    turns = distances[:, None] * timescales
    return mx.concatenate([mx.sin(turns), mx.cos(turns)], axis=-1)


def token_count(frames: int) -> int:
    """Tokens of a clip after the two convolutions."""
    return _halved(_halved(frames))


def stem_ends(lengths: Sequence[int]) -> list[int]:
    """Steps of each clip after the first convolution."""
    return [_halved(length) for length in lengths]


def _halved(length: int) -> int:
    return (length + 1) // 2


def _clip_masks(config: AudioConfig, counts: Sequence[int]) -> mx.array:
    """``local_mask`` of each clip, concatenated; chunks after a clip's end see nothing."""
    chunks = _chunk_count(config, max(counts))
    masks = []
    for count in counts:
        mask = local_mask(config, count)
        masks.append(mx.pad(mask, [(0, chunks - len(mask)), (0, 0), (0, 0)]))
    return mx.concatenate(masks)


def local_mask(config: AudioConfig, length: int) -> mx.array:
    """Which keys each query sees, ``[chunks, chunk, context]``.

    A query sees ``context_left - 1`` keys up to and including its own.
    """
    chunks = _chunk_count(config, length)
    before = config.context_left - 1
    starts = mx.arange(chunks)[:, None, None] * config.chunk_size
    queries = starts + mx.arange(config.chunk_size)[None, :, None]
    keys = starts + mx.arange(_context_size(config))[None, None] - before
    distance = queries - keys
    seen = ((distance >= 0) & (distance < before)) | (
        (distance < 0) & (-distance < config.context_right)
    )
    return seen & (keys >= 0) & (keys < length)
