"""Quantised linear layers for MLX's CPU backend.

Its quantised product takes the rows of its input one after the other; for more than a few rows it
is quicker to unpack the weights once and multiply them as floats. GPUs have kernels of their own
and take MLX's layers as they are. docs/log.md has the figures.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

_ROWS = 8
"""Input rows from which on unpacking pays."""


class UnpackingLinear(nn.QuantizedLinear):
    """A QuantizedLinear that unpacks its weights for inputs of many rows."""

    def __call__(self, x: mx.array) -> mx.array:
        if x.size < _ROWS * x.shape[-1]:
            return super().__call__(x)
        weights = mx.dequantize(
            self["weight"],
            self["scales"],
            self.get("biases"),
            group_size=self.group_size,
            bits=self.bits,
            mode=self.mode,
        )
        product = x @ weights.astype(x.dtype).T
        return product + self["bias"] if "bias" in self else product


def unpack_many_rows(network: nn.Module) -> None:
    """Make every QuantizedLinear of ``network`` an UnpackingLinear; the weights stay."""
    for module in network.modules():
        if type(module) is nn.QuantizedLinear:
            module.__class__ = UnpackingLinear
