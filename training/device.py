"""Where training runs: on a GPU if there is one, else on the CPU."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@cache
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision() -> torch.autocast:
    """Matrix products in bfloat16, sums and norms in float32.

    On a CPU that has no bfloat16 products all is float32: they would take twenty times as long.
    """
    return torch.autocast(device().type, torch.bfloat16, enabled=_has_bfloat16_products())


@cache
def _has_bfloat16_products() -> bool:
    return device().type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def placed(batch: T) -> T:
    """A batch, a frozen dataclass, with its tensors on the device."""
    return replace(batch, **{f.name: _moved(getattr(batch, f.name)) for f in fields(batch)})  # type: ignore[type-var, arg-type]


def _moved(value: Any) -> Any:
    match value:
        case torch.Tensor():
            return value.to(device())
        case dict():
            return {name: _moved(each) for name, each in value.items()}
        case tuple():
            return tuple(map(_moved, value))
        case _:
            return value
