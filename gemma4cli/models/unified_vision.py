"""The 12B's image input: large raw patches, embedded without a tower.

Source: Gemma4UnifiedVisionEmbedder in transformers. Attribute names equal the checkpoint's keys.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .config import UnifiedVisionConfig

_EPS = 1e-5


class ExactLayerNorm(nn.Module):
    """LayerNorm whose mean and variance keep their digits, in float32.

    A plain patch has no variance, so what is left of its mean is all that the norm sees, and
    enlarges some 300 times. MLX's CPU backend adds thousands of pixels one by one and is off in
    the fifth digit; taking the mean out twice mends that, and costs nothing elsewhere.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.weight = mx.ones((dims,))
        self.bias = mx.zeros((dims,))

    def __call__(self, x: mx.array) -> mx.array:
        centred = x.astype(mx.float32)
        for _ in range(2):
            centred = centred - centred.mean(axis=-1, keepdims=True)
        variance = mx.square(centred).mean(axis=-1, keepdims=True)
        return (centred * mx.rsqrt(variance + _EPS)).astype(x.dtype) * self.weight + self.bias


class UnifiedVisionEmbedder(nn.Module):
    """Patches to features: norm, linear, norm, x and y position rows, norm."""

    def __init__(self, config: UnifiedVisionConfig) -> None:
        super().__init__()
        patch_dim, width = 3 * config.patch_size**2, config.embed_dim
        self.patch_ln1 = ExactLayerNorm(patch_dim)
        self.patch_dense = nn.Linear(patch_dim, width)
        self.patch_ln2 = ExactLayerNorm(width)
        self.pos_embedding = mx.zeros((config.position_table_size, 2, width))
        self.pos_norm = ExactLayerNorm(width)

    def __call__(self, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        """``patches`` ``[B, rows*columns, P*P*3]`` in [0, 1], ``grid`` (rows, columns), to
        ``[B, rows*columns, D]``."""
        rows, columns = grid
        xs = mx.tile(mx.arange(columns), rows)
        ys = mx.repeat(mx.arange(rows), columns)
        hidden = self.patch_ln1(patches.astype(self.pos_embedding.dtype))
        hidden = self.patch_ln2(self.patch_dense(hidden))
        return self.pos_norm(hidden + (self.pos_embedding[xs, 0] + self.pos_embedding[ys, 1]))
