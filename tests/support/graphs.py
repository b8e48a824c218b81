"""Graphs of operations as a GPU would run them, built without computing anything.

Weights are views of a single number, so that networks of published sizes take no memory.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_map

from gemma4cli.engine import sampling

_PRIMITIVE = re.compile(r'^\{ \d+ \[label ="(\w+)", shape=rectangle\]; \}$', re.MULTILINE)


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Elementwise chains are compiled, and MLX's fused operations are one each.

    On a CPU MLX builds the latter from smaller ones; here, one that reads the same arrays stands
    for each.
    """

    def attention(
        q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **_: Any
    ) -> mx.array:
        others = [k, v, mask] if isinstance(mask, mx.array) else [k, v]
        return mx.depends([q], others)[0]

    def norm(x: mx.array, weight: mx.array | None, eps: float, **_: Any) -> mx.array:
        return mx.depends([x], [x if weight is None else weight])[0]

    def rope(x: mx.array, *_: Any, offset: Any, **__: Any) -> mx.array:
        return mx.depends([x], [offset if isinstance(offset, mx.array) else x])[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx.fast, "scaled_dot_product_attention", attention)
        patch.setattr(mx.fast, "rms_norm", norm)
        patch.setattr(mx.fast, "rope", rope)
        patch.setattr(sampling, "native_in_use", lambda: False)
        mx.enable_compile()
        try:
            yield
        finally:
            mx.disable_compile()


def without_weights(network: nn.Module, dtype: mx.Dtype = mx.bfloat16) -> None:
    """Replace the parameters of ``network`` by views of one number, in ``dtype``."""
    number = mx.array(0.5, dtype)
    views = tree_map(lambda each: mx.broadcast_to(number, each.shape), network.parameters())
    mx.eval(views)
    network.update(views)


def filled(cache: Sequence[Any], heads: Sequence[tuple[int, int]], length: int) -> None:
    """Set ``cache`` to hold ``length`` positions; ``heads`` holds heads and their size by layer."""
    for layer, (count, size) in zip(cache, heads, strict=True):
        stored = min(length, getattr(layer, "max_size", length))
        room = -(-stored // layer.step) * layer.step
        keys = mx.zeros((1, count, room, size), mx.bfloat16)
        layer.keys, layer.values = keys, mx.zeros_like(keys)
        layer.offset = length
        if hasattr(layer, "_idx"):
            layer._idx = stored
        mx.eval(layer.keys, layer.values)


def primitives(*outputs: mx.array) -> list[str]:
    """The operations that computing ``outputs`` takes, by name."""
    text = io.StringIO()
    mx.export_to_dot(text, *outputs)
    return _PRIMITIVE.findall(text.getvalue())
