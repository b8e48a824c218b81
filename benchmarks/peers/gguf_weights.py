"""The tensors of a random checkpoint in MLX's 4-bit layout, as GGUF holds them.

MLX's affine groups of 64 with the bias at minus eight scales are exactly Q4_0's blocks of 32, which
is how ``random_checkpoint.py`` fills them; a published checkpoint is not, and is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Q4 = gguf.GGMLQuantizationType.Q4_0
F16 = gguf.GGMLQuantizationType.F16
F32 = gguf.GGMLQuantizationType.F32
BLOCK = 32

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tensor:
    """One tensor as GGUF will hold it; ``data`` is read when written."""

    name: str
    kind: gguf.GGMLQuantizationType
    source: str


class Checkpoint:
    """The arrays and the config of an MLX checkpoint in one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self._path = folder / "model.safetensors"
        with self._path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self.header: dict[str, Any] = json.loads(file.read(length))
        self._base = 8 + length

    @cached_property
    def _bytes(self) -> np.memmap[Any, np.dtype[np.uint8]]:
        return np.memmap(self._path, np.uint8, "r")

    def array(self, name: str) -> Array:
        """A tensor; bfloat16 becomes float32."""
        entry = self.header[name]
        start, end = (self._base + offset for offset in entry["data_offsets"])
        raw = self._bytes[start:end]
        if entry["dtype"] == "BF16":
            wide = raw.view(np.uint16).astype(np.uint32) << 16
            return wide.view(np.float32).reshape(entry["shape"])
        words: Array = raw.view({"U32": np.uint32}[entry["dtype"]])
        return words.reshape(entry["shape"])

    def is_packed(self, name: str) -> bool:
        return str(self.header[name]["dtype"]) == "U32"

    def nibbles(self, name: str) -> Array:
        """The 4-bit values ``[rows, columns]`` of a packed tensor, 0 to 15."""
        packed = self.array(name).view(np.uint8)
        return np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)

    def scales(self, name: str) -> Array:
        """The scale of each group ``[rows, groups]``; refuses groups that Q4_0 cannot hold."""
        stem = name.removesuffix(".weight")
        scales = self.array(f"{stem}.scales")
        if not np.array_equal(self.array(f"{stem}.biases"), -8 * scales):
            raise SystemExit(f"{name}: only groups whose bias is minus eight scales fit Q4_0")
        return scales


def as_q4_0(checkpoint: Checkpoint, name: str) -> Array:
    """A packed tensor as Q4_0: per 32 columns a float16 scale, then both halves' nibbles."""
    values = checkpoint.nibbles(name)
    rows, columns = values.shape
    blocks = values.reshape(rows, columns // BLOCK, 2, BLOCK // 2)
    scales = np.repeat(checkpoint.scales(name).astype(np.float16), 64 // BLOCK, axis=1)
    result = np.empty((rows, columns // BLOCK, 2 + BLOCK // 2), np.uint8)
    result[..., :2] = scales[..., None].view(np.uint8)
    result[..., 2:] = blocks[..., 0, :] | blocks[..., 1, :] << 4
    return result.reshape(rows, -1)


def dequantized(checkpoint: Checkpoint, name: str) -> Array:
    scales = np.repeat(checkpoint.scales(name), 64, axis=1)
    values: Array = (checkpoint.nibbles(name).astype(np.float32) - 8) * scales
    return values


def rearranged(name: str, values: Array) -> Array:
    """A tower's tensor in the order of axes that llama.cpp wants."""
    if name.endswith("per_dim_scale"):
        return np.log1p(np.exp(values))
    if "depthwise_conv1d" in name:  # [O, K, 1]
        return values[:, :, 0]
    if re.search(r"layer\d\.conv\.weight", name):  # [O, H, W, I]
        return values.transpose(0, 3, 1, 2)
    if name.endswith("patch_embedder.input_proj.weight"):
        side = round((values.shape[1] // 3) ** 0.5)
        return values.reshape(-1, side, side, 3).transpose(0, 3, 1, 2)
    return values.reshape(1) if values.ndim == 0 else values


def payload(checkpoint: Checkpoint, tensor: Tensor) -> Array:
    if tensor.kind == Q4:
        return as_q4_0(checkpoint, tensor.source)
    if checkpoint.is_packed(tensor.source):
        values = dequantized(checkpoint, tensor.source)
    else:
        values = rearranged(tensor.source, checkpoint.array(tensor.source))
    return np.ascontiguousarray(values, np.float16 if tensor.kind == F16 else np.float32)
