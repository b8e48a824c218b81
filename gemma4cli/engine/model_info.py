"""Describe a checkpoint and its memory needs without reading its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..hub.adapter_files import AdapterFile
from ..hub.resolved import ResolvedModel
from ..machine.device import device, memory_limit
from ..machine.memory import (
    CacheSize,
    Footprint,
    Kept,
    Weights,
    Work,
    cache_size,
    footprint,
)
from ..options import LoadOptions
from .loaded_weights import computed_in, numerics_of, tensors_of, weights_in_memory
from .loading import load_resolved

if TYPE_CHECKING:
    from .model import LoadedModel

CONTEXTS = (8192, 32768)
"""Context lengths for which the memory is reported."""

_CLIP_TOKENS = 750
"""Soft tokens of half a minute of sound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMemory:
    """Memory in bytes of a run of ``tokens`` with an image and half a minute of sound.

    ``quantized`` is the cache with ``kv_bits`` 8.
    """

    tokens: int
    cache: CacheSize
    run: Footprint
    quantized: CacheSize

    @property
    def saved(self) -> int:
        """What ``kv_bits`` 8 saves."""
        return self.cache.total - self.quantized.total


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """A checkpoint's properties; ``context`` is in tokens, ``weights`` in bytes.

    ``inputs`` are the media the model accepts. ``parameters`` counts unpacked weights.
    ``stored_layers`` is the number of layers that compute their own keys and values;
    ``sliding_layers`` of them cache at most ``window`` positions. ``memory_limit`` is the most that
    models may use on this machine. ``tied``: the output head is the embeddings, not a tensor.
    """

    name: str
    folder: Path
    architecture: str
    inputs: tuple[str, ...]
    layers: int
    stored_layers: int
    sliding_layers: int
    window: int
    hidden_size: int
    context: int
    dtype: str
    quantization: tuple[str, ...]
    tied: bool
    parameters: int
    tensors: int
    weights: Weights
    memory: tuple[ModelMemory, ...]
    memory_limit: int
    adapter: AdapterFile | None = None

    @property
    def size(self) -> int:
        """Bytes of all weights in memory."""
        return self.weights.total


def describe(found: ResolvedModel) -> ModelInfo:
    """Describe a model without reading its weights: the whole one, also in several processes.

    Raises the same LoadErrors as loading it.
    """
    model = load_resolved(found, LoadOptions(), read_weights=False, divided=False)
    config, text = model.network.config, model.network.config.text
    stored = text.layer_types[: text.num_stored_layers]
    return ModelInfo(
        name=found.name,
        folder=found.folder,
        architecture=config.architecture,
        inputs=(
            "text",
            *(("image", "video") if model.processor.sees else ()),
            *(("audio",) if model.processor.hears else ()),
        ),
        layers=text.num_layers,
        stored_layers=len(stored),
        sliding_layers=stored.count("sliding_attention"),
        window=text.sliding_window,
        hidden_size=text.hidden_size,
        context=text.max_positions,
        dtype=str(computed_in(model)).removeprefix("mlx.core."),
        quantization=tuple(sorted(map(str, model.quantization))),
        tied=text.tied_embeddings,
        parameters=_count(model),
        tensors=len(tensors_of(model.network)),
        weights=weights_in_memory(model),
        memory=tuple(_memory(model, tokens) for tokens in CONTEXTS if tokens <= text.max_positions),
        memory_limit=memory_limit(device()),
        adapter=model.adapter,
    )


def _memory(model: LoadedModel, tokens: int) -> ModelMemory:
    config, numerics = model.network.config, numerics_of(model)
    work = Work(
        tokens=tokens,
        images=(model.processor.config.vision.image_budget,) if model.processor.sees else (),
        clip_tokens=_CLIP_TOKENS if model.processor.hears else 0,
        kept=Kept(),
    )
    return ModelMemory(
        tokens=tokens,
        cache=cache_size(config.text, tokens, numerics.item),
        run=footprint(config, weights_in_memory(model), numerics, work),
        quantized=cache_size(config.text, tokens, numerics.item, kv_bits=8),
    )


def _count(model: LoadedModel) -> int:
    """Parameters of the network, without the scales and biases of quantized layers."""
    count = 0
    for module in model.network.modules():
        bits = getattr(module, "bits", None)
        for key, value in module.items():
            if key.startswith("_") or not hasattr(value, "dtype"):
                continue
            if bits is None:
                count += value.size
            elif key == "weight":
                count += value.size * 32 // bits
    return count
