"""What a checkpoint is, without reading its weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from ..options import LoadOptions
from .loading import load_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """``inputs`` are what the model takes; ``context`` is in tokens, ``size`` in bytes."""

    name: str
    folder: Path
    architecture: str
    inputs: tuple[str, ...]
    layers: int
    hidden_size: int
    context: int
    dtype: str
    quantization: tuple[str, ...]
    tensors: int
    size: int


def describe(name: str, folder: Path) -> ModelInfo:
    """Describe the checkpoint in ``folder``. Raises LoadError as loading it would."""
    from mlx.utils import tree_flatten

    model = load_folder(name, folder, LoadOptions())
    config = model.network.config
    kind = "gemma4_unified" if config.unified else "gemma4"
    if config.text.moe is not None:
        kind += f", mixture of {config.text.moe.num_experts} experts"
    parameters = dict(tree_flatten(model.network.parameters()))
    norm = model.network.language_model.model.norm.weight
    return ModelInfo(
        name=name,
        folder=folder,
        architecture=kind,
        inputs=(
            "text",
            *(("image", "video") if model.processor.sees else ()),
            *(("audio",) if model.processor.hears else ()),
        ),
        layers=config.text.num_layers,
        hidden_size=config.text.hidden_size,
        context=config.text.max_positions,
        dtype=str(norm.dtype).removeprefix("mlx.core."),
        quantization=tuple(sorted(map(str, model.quantization))),
        tensors=len(parameters),
        size=sum(prod(value.shape) * value.dtype.size for value in parameters.values()),
    )
