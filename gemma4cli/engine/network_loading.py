"""A checkpoint's tensors to a network that computes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..errors import CheckpointError
from ..machine.backend import native_in_use, on_cpu, weights_dtype
from ..models.config import Gemma4Config
from ..models.cpu_layers import use_whole_cpu
from ..models.weights import (
    Quantization,
    fit_config,
    fit_head,
    load_weights,
    quantize_layers,
    renamed,
    sanitize,
)
from ..options import LoadOptions
from .checkpoint import Checkpoint

if TYPE_CHECKING:
    from .division import Division

Network = TypeVar("Network", bound=nn.Module)


def load_network(
    checkpoint: Checkpoint,
    raw: Mapping[str, Any],
    config: Gemma4Config,
    build: Callable[[Gemma4Config], Network],
    options: LoadOptions,
    division: Division | None = None,
) -> tuple[Network, set[Quantization]]:
    """A checkpoint's network with its weights, and the kinds of quantized layers in it.

    ``raw`` is the content of config.json, and ``config`` what it says of the network; ``build``
    gets it as the tensors make it: without missing towers, and with the head they have. With a
    ``division`` only that part is read.
    """
    native = native_in_use(options.dtype)
    if division is None:
        weights = renamed(checkpoint.weights(mapped=native))
    else:
        weights = division.weights(checkpoint, mapped=native)
    config, weights = fit_head(fit_config(config, weights.keys()), weights)
    weights = sanitize(weights, config)
    try:
        network = build(config)
        if division is not None:
            from ..models.sharded_text import pad_groups

            pad_groups(network, division.padding)
        kinds = quantize_layers(network, weights, raw)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as exc:
        # From MLX: a size that is no length of an axis, or does not divide another.
        raise CheckpointError("config.json", f"has sizes that cannot be ({exc})") from exc
    stored: set[str] = set()
    if native:
        from ..models.native_network import use_native

        stored = use_native(network)
    elif on_cpu():
        use_whole_cpu(network)
    dtype_name = weights_dtype(options.dtype)
    load_weights(network, weights, getattr(mx, dtype_name) if dtype_name else None, stored)
    return network, kinds
