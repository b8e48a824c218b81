"""Layers with a low-rank addition on the native part. Import only where the native part is in use.

The product of the layer itself takes its usual kernel, and the two thin ones take it too.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from ..native import _native as native
from .low_rank import LowRankLinear, LowRankSwitchLinear
from .native_layers import matrix


class NativeLowRankLinear(LowRankLinear):
    def __call__(self, x: mx.array) -> mx.array:
        if "m" in self or "lora_bias" in self:
            return super().__call__(x)
        return self.linear(x) + self._added(x)

    def _added(self, x: mx.array) -> mx.array:
        if "_thin" not in self:
            # In rows, which the kernels read; the transposed view of a view is the array itself.
            a, b = mx.contiguous(self.lora_a.T), mx.contiguous(self.lora_b.T * self.scale)
            mx.eval(a, b)
            self["_thin"] = [a, b]
        a, b = self["_thin"]
        return native.linear(native.linear(x, a), b)


class NativeLowRankSwitchLinear(LowRankSwitchLinear):
    def of_tokens(self, x: mx.array, chosen: mx.array) -> mx.array:
        """``x`` ``[T, K]`` or ``[T, k, K]`` and its experts ``[T, k]`` to ``[T, k, N]``."""
        out = native.expert_linear(x, chosen, *matrix(self.linear))
        inner = native.expert_linear(x, chosen, self.lora_a)
        return out + self.scale * native.expert_linear(inner, chosen, self.lora_b)


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    LowRankLinear: NativeLowRankLinear,
    LowRankSwitchLinear: NativeLowRankSwitchLinear,
}


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is nothing but its matrix, so that kernels may read it directly."""
    return "weight" in layer


def products(x: mx.array, layers: Sequence[nn.Module]) -> list[mx.array]:
    """The layers' outputs for the same input; together, if none is changed."""
    if all(map(is_plain, layers)):
        return native.linears(x, [matrix(each) for each in layers])
    return [layer(x) for layer in layers]


def gated(x: mx.array, gate: nn.Module, up: nn.Module) -> mx.array:
    """``gelu(gate(x)) * up(x)``."""
    if is_plain(gate) and is_plain(up):
        return native.gated(x, matrix(gate), matrix(up))
    return native.activate("gelu", gate(x), up(x))


def expert_product(x: mx.array, chosen: mx.array, experts: nn.Module) -> mx.array:
    """``x`` ``[T, K]`` or ``[T, k, K]`` and its experts ``[T, k]`` to ``[T, k, N]``."""
    if not is_plain(experts):
        return experts.of_tokens(x, chosen)
    return native.expert_linear(x, chosen, *matrix(experts))
