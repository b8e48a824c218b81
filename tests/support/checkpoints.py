"""Checkpoint folders made from others, with something changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from gemma4cli.engine.model import LoadedModel

PARITY = Path(__file__).parents[2] / "fixtures" / "parity" / "checkpoints"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

Tensors = dict[str, mx.array]


def tensors_of(folder: Path) -> Tensors:
    return dict(mx.load(str(folder / WEIGHTS)))


def json_of(folder: Path, name: str = "config.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_bytes())
    return content


def variant(
    source: Path,
    target: Path,
    *,
    tensors: Tensors | None = None,
    shards: Mapping[str, Tensors] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """``source`` once more, with other tensors, with shards and their index, or another config."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (target / path.name).write_bytes(path.read_bytes())
    if config is not None:
        (target / "config.json").write_text(json.dumps(config))
    if shards is None:
        shards = {WEIGHTS: tensors_of(source) if tensors is None else tensors}
    else:
        names = {name: file for file, part in shards.items() for name in part}
        (target / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    for file, part in shards.items():
        mx.save_safetensors(str(target / file), part, {"format": "mlx"})
    return target


def mlx_tensors(model: LoadedModel) -> Tensors:
    """A model's tensors under MLX's names and in MLX's layout."""
    return dict(tree_flatten(model.network.parameters()))
