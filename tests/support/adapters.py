"""Adapters in each layout, made of one set of random numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from gemma4cli.models.low_rank import plain_rows

RANK = 2
SCALE = 1.5
Tensors = dict[str, mx.array]


def matrices(
    network: nn.Module, *ends: str, size: float = 0.3
) -> dict[str, tuple[mx.array, mx.array]]:
    """Random A ``[r, K]`` and B ``[N, r]`` for the linear layers whose paths end so.

    ``size`` is the standard deviation of B.
    """
    mx.random.seed(5)
    found = {}
    for path, module in sorted(network.named_modules()):
        if path.endswith(ends) and "weight" in module and module["weight"].ndim == 2:
            outputs, inputs = plain_rows(module, 0, 1 << 30).shape
            a = mx.random.normal((RANK, inputs)) * inputs**-0.5
            found[path] = (a, size * mx.random.normal((outputs, RANK)))
    assert found
    return found


def write(folder: Path, tensors: Mapping[str, mx.array], config: object, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(folder / name), dict(tensors))
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def peft_config(**more: object) -> dict[str, Any]:
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": SCALE * RANK, "target_modules": []}
    return {**config, "base_model_name_or_path": "tiny", **more}


def write_peft(
    folder: Path,
    changes: Mapping[str, tuple[mx.array, mx.array]],
    magnitude: float | None = None,
    **more: object,
) -> Path:
    """With a ``magnitude`` it is a DoRA, all of whose rows get that one."""
    tensors: Tensors = {}
    for path, (a, b) in changes.items():
        inner = path.removeprefix("language_model.model.")
        name = f"base_model.model.model.language_model.{inner}"
        tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        if magnitude is not None:
            tensors[f"{name}.lora_magnitude_vector"] = mx.full((b.shape[0],), magnitude)
    return write(folder, tensors, peft_config(**more), "adapter_model.safetensors")


def mlx_config(kind: str = "lora", **more: object) -> dict[str, Any]:
    parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0}
    return {"fine_tune_type": kind, "num_layers": 4, "lora_parameters": parameters, **more}


def write_mlx_lm(folder: Path, changes: Mapping[str, tuple[mx.array, mx.array]]) -> Path:
    """As mlx-lm writes them, whose network has no "language_model." before its names."""
    tensors: Tensors = {}
    for path, (a, b) in changes.items():
        name = path.removeprefix("language_model.")
        tensors |= {f"{name}.lora_a": a.T, f"{name}.lora_b": b.T}
    return write(folder, tensors, mlx_config(model="tiny"), "adapters.safetensors")


def write_mlx_vlm(folder: Path, changes: Mapping[str, tuple[mx.array, mx.array]]) -> Path:
    """As older versions of mlx-vlm write them."""
    tensors: Tensors = {}
    for path, (a, b) in changes.items():
        tensors |= {f"{path}.A": a.T, f"{path}.B": b.T}
    config = {"rank": RANK, "alpha": SCALE * RANK, "dropout": 0.1}
    return write(folder, tensors, config, "adapters.safetensors")
