"""Adapters on disk: what their config and the names of their tensors say; no weight is read.

Three layouts: PEFT's (adapter_model.safetensors), mlx-lm's (adapters.safetensors), and mlx-vlm's,
whose newer form is mlx-lm's and whose older one has "rank" and "alpha" alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..checked_json import JsonError, read_object
from ..errors import AdapterError, CheckpointError
from .adapter_layouts import Layout, Part, read_mlx, read_peft
from .adapter_names import CONFIG, MLX_WEIGHTS, PEFT_WEIGHTS, WEIGHTS
from .safetensors_headers import TensorHeader, TensorHeaders, file_headers

_FLOATS = ("F32", "BF16", "F16")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AdapterFile:
    """An adapter on this machine.

    Attributes:
        name: What the user gave.
        weights: Its file of tensors.
        layout: The program whose layout it has.
        kind: "LoRA", "DoRA", or "weights" for whole tensors only.
        base: The model it was trained on, as its config calls it.
        rank: The rank of most of its layers; 0 for whole tensors only.
        parts: Its low-rank additions.
        whole: Names in the file of whole tensors, to the model's names for them.
        headers: Every tensor of the file.
        doubt: What its files do not say for certain, and how it is taken.
    """

    name: str
    weights: Path
    layout: Layout
    kind: Literal["LoRA", "DoRA", "weights"]
    base: str | None
    rank: int
    parts: tuple[Part, ...] = field(repr=False)
    whole: Mapping[str, str] = field(repr=False)
    headers: TensorHeaders = field(repr=False)
    doubt: str | None = None

    @property
    def folder(self) -> Path:
        return self.weights.parent

    @property
    def by_rows(self) -> bool:
        """Whether ``a`` is ``[r, K]`` and ``b`` ``[N, r]``; else both are transposed."""
        return self.layout == "PEFT"

    @property
    def head_follows(self) -> bool:
        """Whether an output head that is the embeddings changes with them."""
        return self.layout != "PEFT"

    def size(self, float_size: int | None = None) -> int:
        """Bytes of its tensors in memory; ``float_size`` as in ``TensorHeader.size``."""
        return sum(each.size(float_size) for each in self.headers.values())

    @property
    def identity(self) -> Mapping[str, object]:
        """What tells it from another adapter, and from itself with other weights."""
        files = [(each, (self.folder / each).stat()) for each in (CONFIG, self.weights.name)]
        return {
            "adapter": str(self.folder.resolve()),
            "files": [
                f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
                for name, status in files
            ],
        }

    @property
    def summary(self) -> str:
        """ "LoRA of rank 16 for 245 layers, PEFT"."""
        layers = f"{len(self.parts)} layer{'' if len(self.parts) == 1 else 's'}"
        tensors = f"{len(self.whole)} whole tensor{'' if len(self.whole) == 1 else 's'}"
        if not self.parts:
            return f"{tensors}, {self.layout}"
        more = f" and {tensors}" if self.whole else ""
        return f"{self.kind} of rank {self.rank} for {layers}{more}, {self.layout}"


def is_adapter(folder: Path) -> bool:
    """Whether a folder has the files of an adapter."""
    return any((folder / name).is_file() for name in WEIGHTS) or (
        (folder / CONFIG).is_file() and not (folder / "config.json").is_file()
    )


def base_of(folder: Path) -> str | None:
    """What the config of an adapter calls the model that it was trained on, if it can be read."""
    try:
        return _base(read_object(folder / CONFIG))
    except (OSError, JsonError):
        return None


def _base(config: Mapping[str, Any]) -> str | None:
    for key in ("base_model_name_or_path", "model", "base_model", "model_path"):
        value = config.get(key)
        if isinstance(value, str) and value.strip() and len(value) < 1000 and value.isprintable():
            return value
    return None


def read_adapter(name: str, path: Path) -> AdapterFile:
    """The adapter in a folder, or in a file of tensors with its config beside it.

    Raises AdapterError.
    """
    folder = path if path.is_dir() else path.parent
    try:
        config = read_object(folder / CONFIG)
    except FileNotFoundError as exc:
        raise AdapterError(
            name, f"has no {CONFIG}, which says what its tensors are multiplied by: copy it too"
        ) from exc
    except OSError as exc:
        raise AdapterError(name, f"{CONFIG} cannot be read ({exc.strerror or exc})") from exc
    except JsonError as exc:
        raise AdapterError(name, f"{CONFIG}: {exc}") from exc
    try:
        layout = _layout(config)
        weights = path if path.is_file() else _weights(name, folder, layout)
        headers = file_headers(weights)
        for tensor, header in headers.items():
            if header.dtype not in _FLOATS:
                raise AdapterError(name, f"{tensor} is of type {header.dtype}, no trained weights")
        if layout == "PEFT":
            found = read_peft(name, config, headers)
        else:
            found = read_mlx(name, config, headers, layout)
    except JsonError as exc:
        raise AdapterError(name, f"{CONFIG}: {exc}") from exc
    except CheckpointError as exc:
        raise AdapterError(name, str(exc)) from exc
    parts = found.parts
    if not parts and not found.whole:
        raise AdapterError(name, f"{weights.name} has no tensors")
    ranks = [_rank(headers[part.a], layout) for part in parts]
    kind: Literal["LoRA", "DoRA"] = "DoRA" if any(part.magnitude for part in parts) else "LoRA"
    return AdapterFile(
        name=name,
        weights=weights,
        layout=layout,
        kind=kind if parts else "weights",
        base=_base(config),
        rank=max(set(ranks), key=ranks.count, default=0),
        parts=tuple(parts),
        whole=found.whole,
        doubt=found.doubt,
        headers=headers,
    )


def _layout(config: Mapping[str, Any]) -> Layout:
    if "peft_type" in config:
        return "PEFT"
    if "fine_tune_type" in config or "lora_parameters" in config:
        return "mlx-lm"
    if "rank" in config:
        return "mlx-vlm"
    if "r" in config and "lora_alpha" in config:
        return "PEFT"
    raise JsonError(
        "is of no layout that g4 reads: PEFT's has 'peft_type', mlx-lm's 'lora_parameters', "
        "mlx-vlm's 'rank'"
    )


def _weights(name: str, folder: Path, layout: Layout) -> Path:
    wanted = (PEFT_WEIGHTS,) if layout == "PEFT" else (MLX_WEIGHTS, "weights.safetensors")
    for each in wanted:
        if os.path.isfile(folder / each):
            return folder / each
    others = sorted(each.name for each in folder.glob("*.safetensors"))
    if layout != "PEFT" and len(others) == 1:
        return folder / others[0]
    if (folder / "adapter_model.bin").exists():
        raise AdapterError(
            name, "its weights are in PyTorch's pickle format: save it again as safetensors"
        )
    raise AdapterError(name, f"has no {wanted[0]}: copy it, or download the adapter again")


def _rank(header: TensorHeader, layout: Layout) -> int:
    """The rank that the shape of ``a`` says; of PEFT's experts times their count."""
    if not header.shape:
        return 0
    return header.shape[0] if layout == "PEFT" else header.shape[-1]
