"""Layers for CPUs without the native part, which work around limits of MLX's CPU backend.

MLX's CPU backend runs each operation on one thread, so large products are split over streams, each
of which has its own thread. Its quantized product also handles one input row at a time, so for many
rows the weights are dequantized once and multiplied by BLAS. See docs/log.md for measurements.
"""

from __future__ import annotations

import os
from threading import local

import mlx.core as mx
import mlx.nn as nn

_MANY_ROWS = 8
"""Input rows from which dequantizing is faster."""

_LARGE = 1 << 20
"""Weights from which splitting is faster."""

_MOST_STREAMS = 8


class CpuQuantizedLinear(nn.QuantizedLinear):
    """A QuantizedLinear that uses all CPU cores."""

    def __call__(self, x: mx.array) -> mx.array:
        product = _product(self, x)
        return product + self["bias"] if "bias" in self else product


class CpuQuantizedEmbedding(nn.QuantizedEmbedding):
    """A QuantizedEmbedding whose projection onto the vocabulary uses all CPU cores."""

    def as_linear(self, x: mx.array) -> mx.array:
        return _product(self, x)


_CPU_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    nn.QuantizedLinear: CpuQuantizedLinear,
    nn.QuantizedEmbedding: CpuQuantizedEmbedding,
}


def use_whole_cpu(network: nn.Module) -> None:
    """Change the quantized layers of ``network`` to their CPU class, keeping the weights."""
    for module in network.modules():
        if type(module) in _CPU_CLASSES:
            module.__class__ = _CPU_CLASSES[type(module)]


def _product(layer: nn.Module, x: mx.array) -> mx.array:
    """``x`` ``[..., K]`` times the layer's transposed weights, ``[..., N]``."""
    weight, scales, biases = layer["weight"], layer["scales"], layer.get("biases")
    kind = {"group_size": layer.group_size, "bits": layer.bits, "mode": layer.mode}
    if x.size >= _MANY_ROWS * x.shape[-1]:
        return x @ mx.dequantize(weight, scales, biases, **kind).astype(x.dtype).T
    outputs = weight.shape[0]
    streams = _streams() if outputs * x.shape[-1] >= _LARGE else (None,)
    step = -(-outputs // len(streams))
    parts = []
    for i, stream in enumerate(streams):
        rows = slice(i * step, (i + 1) * step)
        part = (weight[rows], scales[rows], None if biases is None else biases[rows])
        parts.append(mx.quantized_matmul(x, *part, transpose=True, **kind, stream=stream))
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=-1)


def cpu_streams() -> tuple[mx.Stream | None, ...]:
    """On a CPU one stream per core, to split work over; on a GPU None, the default stream."""
    return _streams() if mx.default_device() == mx.Device(mx.cpu) else (None,)


_SHARED_BY = [1]
"""Processes that share the cores."""


def use_share_of_cores(processes: int) -> None:
    """Use only this process's part of the cores; call it before anything is computed."""
    _SHARED_BY[0] = processes


class _OfThread(local):
    streams: tuple[mx.Stream, ...] = ()


_OF_THREAD = _OfThread()


def _streams() -> tuple[mx.Stream, ...]:
    """One stream per core, created on first use. Each belongs to the thread that created it."""
    if not _OF_THREAD.streams:
        cores = max(1, (os.cpu_count() or 1) // _SHARED_BY[0])
        made = (mx.new_stream(mx.cpu) for _ in range(min(cores, _MOST_STREAMS)))
        _OF_THREAD.streams = tuple(made)
    return _OF_THREAD.streams
