"""Layers used by both towers."""

from __future__ import annotations

from functools import partial

import mlx.core as mx
import mlx.nn as nn


def rms_norm_unscaled(x: mx.array, eps: float) -> mx.array:
    """RMSNorm without a weight, over the last axis."""
    return mx.fast.rms_norm(x, None, eps)


@partial(mx.compile, shapeless=True)
def clip(x: mx.array, low: mx.array | float, high: mx.array | float) -> mx.array:
    """``x`` limited to ``low`` ... ``high``, in its own dtype."""
    return mx.clip(x, low, high).astype(x.dtype)


class ClippedLinear(nn.Module):
    """A linear layer without bias that clips its input and output.

    The bounds are scalars in the checkpoint, one set per layer; there are none if ``clipped`` is
    False. Source: Gemma4ClippableLinear in transformers.
    """

    def __init__(self, input_dims: int, output_dims: int, *, clipped: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(input_dims, output_dims, bias=False)
        self.clipped = clipped
        if clipped:
            self.input_min = mx.array(-mx.inf)
            self.input_max = mx.array(mx.inf)
            self.output_min = mx.array(-mx.inf)
            self.output_max = mx.array(mx.inf)

    def __call__(self, x: mx.array) -> mx.array:
        if not self.clipped:
            return self.linear(x)
        out = self.linear(clip(x, self.input_min, self.input_max))
        return clip(out, self.output_min, self.output_max).astype(x.dtype)


class MultimodalEmbedder(nn.Module):
    """Features ``[..., D]`` to soft tokens ``[..., hidden]``: unscaled RMSNorm, then linear."""

    def __init__(self, input_dims: int, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.embedding_projection = nn.Linear(input_dims, hidden_size, bias=False)

    def __call__(self, features: mx.array) -> mx.array:
        return self.embedding_projection(rms_norm_unscaled(features, self.eps))
