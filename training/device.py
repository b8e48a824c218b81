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
    """Matrix products in bfloat16, sums and norms in float32."""
    return torch.autocast(device().type, torch.bfloat16)


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
