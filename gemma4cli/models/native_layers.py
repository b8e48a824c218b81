"""Layers on the native part's kernels, for CPUs. Import only where the native part is in use.

They compute in float32 and read weights in the type they are stored in, so that nothing is widened
in memory. Each replaces the class of a layer that is loaded already and keeps its weights.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .mlx_lm_parts import QuantizedSwitchLinear, SwitchLinear

Matrix: TypeAlias = tuple[mx.array, mx.array | None, mx.array | None, str, int, int]
"""Weights, scales, biases, mode, bits and group size, as the native functions take a matrix; mode
is "" for one that is not quantized."""


def matrix(layer: nn.Module) -> Matrix:
    """The matrix of a linear layer or an embedding."""
    if "scales" not in layer:
        return layer["weight"], None, None, "", 0, 0
    kind = layer.mode, layer.bits, layer.group_size
    return layer["weight"], layer["scales"], layer.get("biases"), *kind


Adapter: TypeAlias = tuple[
    mx.array | None, mx.array | None, float, mx.array | None, mx.array | None
]
"""What changes the products with a matrix ``[N, K]``, as the native functions take it: ``a``
``[r, K]``, ``b`` ``[N, r]``, scale, share ``[N]`` and bias ``[N]`` of
``(product + b (scale * a x)) * share + bias``."""


Adapters: TypeAlias = tuple[list[Adapter | None], mx.array]
"""Several of them, and in int32 which one rows have: ``[B]`` numbers for ``[B, ..., K]``."""


def bias_of(layer: nn.Module) -> Adapter | None:
    """A layer's own bias, if it has one."""
    return (None, None, 1.0, None, layer["bias"]) if "bias" in layer else None


class NativeLinear(nn.Module):
    """A linear layer, quantized or not."""

    def __call__(self, x: mx.array) -> mx.array:
        return native.linear(x, *matrix(self), adapter=bias_of(self))


class NativeEmbedding(nn.Module):
    """An embedding table, quantized or not."""

    def __call__(self, ids: mx.array) -> mx.array:
        return native.embedding(ids, *matrix(self))

    def as_linear(self, x: mx.array) -> mx.array:
        return native.linear(x, *matrix(self))


def scaled_rows(table: nn.Module, ids: mx.array, scale: float) -> mx.array:
    """``scale`` times the rows ``ids`` of a table, which may have a low-rank addition."""
    if isinstance(table, NativeEmbedding):
        return native.embedding(ids, *matrix(table), scale=scale)
    rows: mx.array = table(ids) * scale
    return rows


def norm(
    layer: nn.RMSNorm,
    x: mx.array,
    *,
    residual: mx.array | None = None,
    share: float = 1.0,
    scale: float = 1.0,
    bound: float = math.inf,
) -> mx.array:
    """``(residual + share * layer(x)) * scale``, with ``x`` limited to +-``bound``."""
    weight = layer.weight if share == 1 else layer.weight * share
    return native.rms_norm(x, weight, layer.eps, residual, scale, bound)


class NativeRMSNorm(nn.RMSNorm):
    def __call__(self, x: mx.array) -> mx.array:
        return norm(self, x)


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: NativeLinear,
    nn.QuantizedLinear: NativeLinear,
    nn.Embedding: NativeEmbedding,
    nn.QuantizedEmbedding: NativeEmbedding,
    nn.RMSNorm: NativeRMSNorm,
}

_PARTS = ("weight", "scales", "biases")
_MATRICES = (NativeLinear, NativeEmbedding)
_EXPERTS = (SwitchLinear, QuantizedSwitchLinear)
"""Their class stays: the feed-forward step of ``native_text`` reads their arrays."""


def move_to_large_pages(network: nn.Module) -> None:
    """Move the matrices of ``network`` from their file to large pages, when they are next used.

    Experts stay: a token reads few of them.
    """
    for module in network.modules():
        if isinstance(module, _MATRICES):
            for name in _PARTS:
                if name in module:
                    module[name] = native.in_large_pages(module[name])


def stored_names(network: nn.Module) -> set[str]:
    """The names of the tensors that the kernels read in the type they are stored in."""
    return {
        f"{path}.{name}"
        for path, module in network.named_modules()
        if isinstance(module, (*_MATRICES, *_EXPERTS))
        for name in _PARTS
        if name in module
    }
