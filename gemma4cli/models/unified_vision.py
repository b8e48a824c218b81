"""The 12B's image input: large raw patches, embedded without a tower.

Source: Gemma4UnifiedVisionEmbedder in transformers. Attribute names equal the checkpoint's keys.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .tower_config import UnifiedVisionConfig

EPS = 1e-5


class ExactLayerNorm(nn.Module):
    """LayerNorm in float32 with an accurate mean, needed by MLX's CPU backend only.

    The CPU backend sums thousands of pixels one by one, so the mean is off in the fifth digit. A
    patch of one color has no variance, so the norm amplifies that error about 300 times.
    Subtracting the mean twice removes it. GPUs do not need this, but it costs them nothing.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.weight = mx.ones((dims,))
        self.bias = mx.zeros((dims,))

    def __call__(self, x: mx.array) -> mx.array:
        centered = x.astype(mx.float32)
        for _ in range(2):
            centered = centered - centered.mean(axis=-1, keepdims=True)
        variance = mx.square(centered).mean(axis=-1, keepdims=True)
        return (centered * mx.rsqrt(variance + EPS)).astype(x.dtype) * self.weight + self.bias


class UnifiedVisionEmbedder(nn.Module):
    """Patches to features: norm, linear, norm, add x and y position embeddings, norm."""

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
