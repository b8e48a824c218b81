"""Checkpoints made smaller, as mlx-lm and mlx-vlm store them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from gemma4cli.api import load
from gemma4cli.engine.model import LoadedModel

from .checkpoints import Tensors, json_of, mlx_tensors, variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    mode: str
    bits: int
    group: int

    @property
    def section(self) -> dict[str, object]:
        return {"mode": self.mode, "bits": self.bits, "group_size": self.group}

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.mode}, groups of {self.group}"


AFFINE4 = Kind(mode="affine", bits=4, group=32)
AFFINE8 = Kind(mode="affine", bits=8, group=64)
MXFP4 = Kind(mode="mxfp4", bits=4, group=32)
MXFP8 = Kind(mode="mxfp8", bits=8, group=32)
NVFP4 = Kind(mode="nvfp4", bits=4, group=16)

Choice = Callable[[str], Kind | None]


def quantized(tensors: Tensors, choose: Choice) -> tuple[Tensors, Tensors, dict[str, Kind]]:
    """Packed tensors, the float tensors that they stand for, and what was quantized how."""
    packed, unpacked, kinds = {}, {}, {}
    for name, value in tensors.items():
        path = name.removesuffix(".weight")
        kind = choose(path) if path != name and "conv" not in path and value.ndim > 1 else None
        if kind is None or value.shape[-1] % kind.group:
            packed[name] = unpacked[name] = value
            continue
        options = {"group_size": kind.group, "bits": kind.bits, "mode": kind.mode}
        packed[name], packed[f"{path}.scales"], *biases = mx.quantize(value, **options)
        if biases:
            packed[f"{path}.biases"] = biases[0]
        # Scales of a narrow type would round what they scale to that type.
        affine = [each.astype(mx.float32) for each in (packed[f"{path}.scales"], *biases)]
        factors = affine if biases else [packed[f"{path}.scales"]]
        unpacked[name] = mx.dequantize(packed[name], *factors, **options, dtype=mx.float32)
        kinds[path] = kind
    return packed, unpacked, kinds


def quantize_checkpoint(
    model: LoadedModel, target: Path, choose: Choice, default: Kind
) -> tuple[LoadedModel, LoadedModel, dict[str, Kind]]:
    """The quantized checkpoint, and the float one with the same values, both loaded."""
    packed, unpacked, kinds = quantized(mlx_tensors(model), choose)
    overrides = {path: kind.section for path, kind in kinds.items() if kind != default}
    config = json_of(model.folder) | {"quantization": default.section | overrides}
    small = variant(model.folder, target / "small", tensors=packed, config=config)
    same = variant(model.folder, target / "same", tensors=unpacked)
    return load(str(small)), load(str(same)), kinds
