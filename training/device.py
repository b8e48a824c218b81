"""Where training runs: on a GPU if there is one, else on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import nn

T = TypeVar("T")


@cache
def device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # cuDNN's attention plans for every new shape, 36 ms a call, and hardly a batch has an old one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda")


def on_gpu() -> bool:
    return device().type == "cuda"


def at_once(on_cpu: int) -> int:
    """How much one step takes in: a GPU eight times as much in little more than the same time."""
    return on_cpu * (8 if on_gpu() else 1)


def steps_of(on_cpu: int) -> int:
    """How many steps a stage takes here: on a GPU a quarter, which is twice the practice."""
    return on_cpu // (4 if on_gpu() else 1)


def compile_layers(layers: Iterable[nn.Module]) -> None:
    """Compile each where that pays: on a CPU. A GPU is done before it would have compiled."""
    if on_gpu():
        return
    for layer in layers:
        layer.compile(dynamic=True)


def half_precision() -> torch.autocast:
    """Matrix products in bfloat16, sums and norms in float32.

    On a CPU that has no bfloat16 products all is float32: they would take twenty times as long.
    """
    return torch.autocast(device().type, torch.bfloat16, enabled=_has_bfloat16_products())


@cache
def _has_bfloat16_products() -> bool:
    return on_gpu() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def placed(value: T) -> T:
    """A tensor on the device, or a frozen dataclass, dict or tuple with its tensors there."""
    moved: Any = value
    match value:
        case torch.Tensor():
            moved = value.to(device())
        case dict():
            moved = {name: placed(each) for name, each in value.items()}
        case tuple():
            moved = tuple(map(placed, value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            moved = replace(
                value, **{f.name: placed(getattr(value, f.name)) for f in fields(value)}
            )
    return cast(T, moved)
