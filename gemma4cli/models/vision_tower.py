"""The vision tower: patches of images that have the same grid to pooled features.

Source: Gemma4VisionModel in transformers. Images are encoded without padding, so no mask is needed
and pooling is a reshape. Attribute names equal the checkpoint's keys.
"""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import mlx.core as mx
import mlx.nn as nn

from .block_sizes import VISION_QUERIES
from .cpu_layers import cpu_streams
from .layers import ClippedLinear, rms_norm_unscaled
from .mlx_lm_parts import geglu
from .tower_config import VisionConfig

Turns: TypeAlias = tuple[mx.array, ...]
"""Cosines and sines of patches' positions; see ``axial_angles``."""

_WORTH_SPLITTING = 512
"""Queries from which splitting them is faster on a CPU."""


class PatchEmbedder(nn.Module):
    """Patches ``[B, N, P*P*3]`` in [0, 1] to hidden states, plus x and y position embeddings."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.input_proj = nn.Linear(3 * config.patch_size**2, config.hidden_size, bias=False)
        self.position_embedding_table = mx.zeros(
            (2, config.position_table_size, config.hidden_size)
        )

    def __call__(self, patches: mx.array, xs: mx.array, ys: mx.array) -> mx.array:
        dtype = self.position_embedding_table.dtype
        hidden = self.input_proj((2 * (patches - 0.5)).astype(dtype))
        table = self.position_embedding_table
        return hidden + (table[0][xs] + table[1][ys])


class VisionAttention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        kv_width = config.num_kv_heads * config.head_dim
        clipped = config.clipped_linears
        self.q_proj = ClippedLinear(width, config.num_heads * config.head_dim, clipped=clipped)
        self.k_proj = ClippedLinear(width, kv_width, clipped=clipped)
        self.v_proj = ClippedLinear(width, kv_width, clipped=clipped)
        self.o_proj = ClippedLinear(config.num_heads * config.head_dim, width, clipped=clipped)
        self.q_norm = nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps)
        self.k_norm = nn.RMSNorm(config.head_dim, eps=config.rms_norm_eps)

    def __call__(self, x: mx.array, angles: Turns) -> mx.array:
        """``x`` ``[B, N, D]``; ``angles`` from ``axial_angles``."""
        config = self.config
        batch, length, _ = x.shape
        heads = (batch, length, -1, config.head_dim)
        q = rotate_axial(self.q_norm(self.q_proj(x).reshape(heads)), angles)
        k = rotate_axial(self.k_norm(self.k_proj(x).reshape(heads)), angles)
        v = rms_norm_unscaled(self.v_proj(x).reshape(heads), config.rms_norm_eps)
        q, k, v = (a.transpose(0, 2, 1, 3) for a in (q, k, v))
        out = attend(q, k, v).transpose(0, 2, 1, 3)
        return self.o_proj(out.reshape(batch, length, -1))


def attend(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """Unmasked attention over ``[B, H, N, d]``. The scale is 1: queries and keys are normalized.

    Queries are processed in chunks to limit the attention weights stored at once; on a CPU, chunks
    also run in parallel, each on its own stream.
    """
    length = q.shape[2]
    streams = cpu_streams() if length >= _WORTH_SPLITTING else (None,)
    count = max(len(streams), -(-length // VISION_QUERIES))
    step = -(-length // count)
    chunks = [
        mx.fast.scaled_dot_product_attention(
            q[:, :, i * step : (i + 1) * step], k, v, scale=1.0, stream=streams[i % len(streams)]
        )
        for i in range(count)
    ]
    return chunks[0] if count == 1 else mx.concatenate(chunks, axis=2)


class VisionMLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = ClippedLinear(width, inner, clipped=config.clipped_linears)
        self.up_proj = ClippedLinear(width, inner, clipped=config.clipped_linears)
        self.down_proj = ClippedLinear(inner, width, clipped=config.clipped_linears)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(geglu(self.gate_proj(x), self.up_proj(x)))


class VisionLayer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.self_attn = VisionAttention(config)
        self.mlp = VisionMLP(config)
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = nn.RMSNorm(width, eps=eps)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=eps)
        self.pre_feedforward_layernorm = nn.RMSNorm(width, eps=eps)
        self.post_feedforward_layernorm = nn.RMSNorm(width, eps=eps)

    def __call__(self, x: mx.array, angles: Turns) -> mx.array:
        attended = self.self_attn(self.input_layernorm(x), angles)
        x = x + self.post_attention_layernorm(attended)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class VisionEncoder(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = [VisionLayer(config) for _ in range(config.num_layers)]


class VisionTower(nn.Module):
    """Patches of images with one grid to features, one per pooled square of patches."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedder = PatchEmbedder(config)
        self.encoder = VisionEncoder(config)
        if config.standardize:
            self.std_bias = mx.zeros((config.hidden_size,))
            self.std_scale = mx.ones((config.hidden_size,))

    def __call__(self, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        """``patches`` ``[B, rows*columns, P*P*3]`` in raster order, ``grid`` (rows, columns).

        Returns ``[B, rows*columns / pooling**2, D]``.
        """
        rows, columns = grid
        xs = mx.tile(mx.arange(columns), rows)
        ys = mx.repeat(mx.arange(rows), columns)
        hidden = self.patch_embedder(patches, xs, ys)
        turns = self._turns(xs, ys, hidden.dtype)
        for layer in self.encoder.layers:
            hidden = layer(hidden, turns)
        return self._pool(hidden, grid)

    def _turns(self, xs: mx.array, ys: mx.array, dtype: mx.Dtype) -> Turns:
        """What the layers rotate queries and keys by."""
        return axial_angles(xs, ys, self.config.head_dim, self.config.rope_theta, dtype)

    def _pool(self, hidden: mx.array, grid: tuple[int, int]) -> mx.array:
        """Average each square of patches, then scale and standardize.

        Scaled values exceed float16's range, so they stay float32 until they are standardized.
        """
        config, (rows, columns) = self.config, grid
        k, dtype = config.pooling, hidden.dtype
        squares = hidden.reshape(-1, rows // k, k, columns // k, k, config.hidden_size)
        pooled = squares.astype(mx.float32).mean(axis=(2, 4)).astype(dtype).astype(mx.float32)
        pooled = pooled.reshape(hidden.shape[0], -1, config.hidden_size) * config.hidden_size**0.5
        if config.standardize:
            bias, scale = (a.astype(mx.float32) for a in (self.std_bias, self.std_scale))
            pooled = (pooled - bias) * scale
        return pooled.astype(dtype)


def axial_angles(
    xs: mx.array, ys: mx.array, head_dim: int, theta: float, dtype: mx.Dtype
) -> tuple[mx.array, mx.array]:
    """Cosines and sines ``[N, 1, 2, head_dim/4]`` for positions ``xs``, ``ys`` ``[N]``.

    Axis 2 is the direction: x rotates the first half of a head, y the second.
    """
    half = head_dim // 2
    frequencies = theta ** -(mx.arange(0, half, 2, dtype=mx.float32) / half)
    positions = mx.stack([xs, ys], axis=1).astype(mx.float32)
    turns = (positions[:, :, None] * frequencies)[:, None]
    return mx.cos(turns).astype(dtype), mx.sin(turns).astype(dtype)


def rotate_axial(x: mx.array, angles: Turns) -> mx.array:
    """Rotate ``x`` ``[B, N, H, head_dim]``; each half of a head is rotated like a head."""
    cos, sin = angles
    halves = x.reshape(*x.shape[:-1], 2, 2, -1)
    pair = _rotated(halves[..., 0, :], halves[..., 1, :], cos, sin)
    return mx.stack(list(pair), axis=-2).reshape(x.shape)


@partial(mx.compile, shapeless=True)
def _rotated(
    first: mx.array, second: mx.array, cos: mx.array, sin: mx.array
) -> tuple[mx.array, mx.array]:
    return first * cos - second * sin, second * cos + first * sin
