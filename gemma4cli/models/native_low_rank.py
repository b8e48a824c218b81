"""Layers with a low-rank addition on the native part. Import only where the native part is in use.

The kernel of a product computes what is added to it, before its results leave the cache. All such
products are steps of the native part alone, so that decoder layers can be recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .low_rank import LowRankEmbedding, LowRankLinear, LowRankSwitchLinear
from .mixed_adapters import MixedLinear
from .native_layers import Adapter, Adapters, Matrix, bias_of, matrix


def _in_rows(transposed: mx.array) -> mx.array:
    """The transpose, with its numbers in rows, as kernels read them."""
    dense = mx.contiguous(transposed.T)
    mx.eval(dense)
    return dense


class NativeLowRankLinear(LowRankLinear):
    def __call__(self, x: mx.array) -> mx.array:
        return native.linear(x, *matrix(self.linear), adapter=self.adapter())

    def adapter(self) -> Adapter:
        if "_adapter" not in self:
            self["_adapter"] = self._made()
        return self["_adapter"]

    def _made(self) -> Adapter:
        a, b = _in_rows(self.lora_a), _in_rows(self.lora_b)
        # Where the file has the other order, these take the place of its tensors.
        self.lora_a, self.lora_b = a.T, b.T
        share = self._share() if "m" in self else None
        bias = None
        if "lora_bias" in self:
            bias = self.scale * self.lora_bias.astype(mx.float32)
            bias = bias if share is None else bias * share
        if "bias" in self.linear:
            bias = self.linear.bias if bias is None else bias + self.linear.bias
        if bias is not None:
            mx.eval(bias)
        return a, b, self.scale, share, bias


class NativeMixedLinear(MixedLinear):
    """The kernel finds out what is added to each row; the adapters stay where they are."""

    def __call__(self, x: mx.array) -> mx.array:
        return native.linear(x, *matrix(self.linear), adapter=self.adapters())

    def adapters(self) -> Adapters:
        own = bias_of(self.linear)
        each = [own if layer is None else layer.adapter() for layer in self.members.layers]
        return each, self.choice.numbers


class NativeLowRankEmbedding(LowRankEmbedding):
    def as_linear(self, x: mx.array) -> mx.array:
        if "m" in self and not self.is_by_row:
            return super().as_linear(x)
        if "_adapter" not in self:
            a, b = _in_rows(self.lora_b.T), _in_rows(self.lora_a.T)
            self["_adapter"] = a, b, self.scale, self._share() if "m" in self else None, None
        return native.linear(x, *matrix(self.embedding), adapter=self["_adapter"])


class NativeLowRankSwitchLinear(LowRankSwitchLinear):
    def of_tokens(self, x: mx.array, chosen: mx.array) -> mx.array:
        """``x`` ``[T, K]`` or ``[T, k, K]`` and its experts ``[T, k]`` to ``[T, k, N]``."""
        out = native.expert_linear(x, chosen, *matrix(self.linear))
        inner = native.expert_linear(x, chosen, self.lora_a)
        return out + self.scale * native.expert_linear(inner, chosen, self.lora_b)


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    LowRankLinear: NativeLowRankLinear,
    MixedLinear: NativeMixedLinear,
    LowRankEmbedding: NativeLowRankEmbedding,
    LowRankSwitchLinear: NativeLowRankSwitchLinear,
}


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is nothing but its matrix, so that kernels may read it directly."""
    return "weight" in layer


def _parts(layer: nn.Module) -> tuple[Matrix, Adapter | Adapters | None]:
    """The matrix of a linear layer, and what changes products with it."""
    if isinstance(layer, NativeLowRankLinear):
        return matrix(layer.linear), layer.adapter()
    if isinstance(layer, NativeMixedLinear):
        return matrix(layer.linear), layer.adapters()
    return matrix(layer), bias_of(layer)


def _has_parts(layer: nn.Module) -> bool:
    return is_plain(layer) or isinstance(layer, (NativeLowRankLinear, NativeMixedLinear))


def products(x: mx.array, layers: Sequence[nn.Module]) -> list[mx.array]:
    """The layers' outputs for the same input; together, unless one is padded."""
    if not all(map(_has_parts, layers)):
        return [layer(x) for layer in layers]
    matrices, adapters = zip(*map(_parts, layers), strict=True)
    return native.linears(x, matrices, adapters)


def gated(x: mx.array, gate: nn.Module, up: nn.Module) -> mx.array:
    """``gelu(gate(x)) * up(x)``."""
    if not (_has_parts(gate) and _has_parts(up)):
        return native.activate("gelu", gate(x), up(x))
    (gate_matrix, gate_adapter), (up_matrix, up_adapter) = _parts(gate), _parts(up)
    return native.gated(x, gate_matrix, up_matrix, "gelu", gate_adapter, up_adapter)


def expert_product(x: mx.array, chosen: mx.array, experts: nn.Module) -> mx.array:
    """``x`` ``[T, K]`` or ``[T, k, K]`` and its experts ``[T, k]`` to ``[T, k, N]``."""
    if not is_plain(experts):
        return experts.of_tokens(x, chosen)
    return native.expert_linear(x, chosen, *matrix(experts))
