"""What the published checkpoints carry beside their weights: configs, and lists of tensors.

The lists stand in for the weights: names, shapes and dtypes are those of the files, the arrays are
lazy zeros that nobody computes.
"""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx

FOLDER = Path(__file__).parents[2] / "fixtures" / "gemma4"
CONFIGS = {
    f"{path.parent.name}/{path.name}": path
    for path in sorted((FOLDER / "configs").glob("*/config*.json"))
}
_DTYPES = {"BF16": mx.bfloat16, "U32": mx.uint32}


def config_of(name: str) -> dict[str, Any]:
    """A fresh copy of a config, "google__gemma-4-E2B-it" or with "/config.<revision>.json"."""
    path = CONFIGS[name if name.endswith(".json") else f"{name}/config.json"]
    config: dict[str, Any] = json.loads(path.read_bytes())
    return config


@cache
def tensor_lists() -> dict[str, dict[str, tuple[str, list[int]]]]:
    """List name to tensor name to dtype and shape."""
    lists: dict[str, Any] = json.loads(lzma.decompress((FOLDER / "tensors.json.xz").read_bytes()))
    return lists


def lazy_weights(name: str) -> dict[str, mx.array]:
    """The tensors of a list, as arrays that hold nothing."""
    return {
        tensor: mx.zeros(shape, _DTYPES[dtype])
        for tensor, (dtype, shape) in tensor_lists()[name].items()
    }
