"""What is known of a published model before its download: its config ships with g4."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..machine.device import device, float_size, memory_limit, numerics
from ..machine.memory import Footprint, Kept, Weights, Work, footprint
from ..models.config import Gemma4Config
from .catalog import CATALOG, entry_of

_CONFIGS = Path(__file__).parent / "configs"

_PARAMETERS: Mapping[str, int] = {
    "e2b": 5_104_298_467,
    "e4b": 7_941_101_802,
    "12b": 11_959_730_224,
    "26b": 25_805_936_206,
    "31b": 31_273_088_876,
}
"""By alias; the towers' included."""

_CONTEXTS = (8192, 32768)
_IMAGE_TOKENS, _CLIP_TOKENS = 280, 750


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedInfo:
    """A published model; ``size`` is the download in bytes, ``context`` in tokens.

    ``memory`` estimates the bytes of a run with an image and half a minute of sound, by its tokens.
    ``others`` are the aliases of its other quantizations.
    """

    name: str
    repo: str
    size: int
    architecture: str
    inputs: tuple[str, ...]
    parameters: int
    layers: int
    hidden_size: int
    context: int
    quantization: str
    memory: Mapping[int, Footprint]
    memory_limit: int
    others: tuple[str, ...]


def published_info(name: str) -> PublishedInfo | None:
    """The model of an alias such as "e2b:8bit"; None for any other name."""
    entry = entry_of(name)
    if entry is None:
        return None
    alias = name.lower().partition(":")[0]
    entries = CATALOG[alias]
    quantization = next(quant for quant, each in entries.items() if each is entry)
    config = _config_of(alias)
    widened = quantization == "bf16" and float_size() == 4
    weights = Weights(text=entry.bytes * (1 + widened), vision=0, audio=0)
    computed = numerics()
    return PublishedInfo(
        name=name.lower(),
        repo=entry.repo,
        size=entry.bytes,
        architecture=config.architecture,
        inputs=config.inputs,
        parameters=_PARAMETERS[alias],
        layers=config.text.num_layers,
        hidden_size=config.text.hidden_size,
        context=config.text.max_positions,
        quantization=quantization,
        memory={
            tokens: footprint(config, weights, computed, _work(config, tokens))
            for tokens in _CONTEXTS
        },
        memory_limit=memory_limit(device()),
        others=tuple(
            f"{alias}:{quant}" if i else alias
            for i, quant in enumerate(entries)
            if quant != quantization
        ),
    )


def _config_of(alias: str) -> Gemma4Config:
    return Gemma4Config.from_dict(json.loads((_CONFIGS / f"{alias}.json").read_bytes()))


def _work(config: Gemma4Config, tokens: int) -> Work:
    clip = _CLIP_TOKENS if config.audio is not None else 0
    return Work(tokens=tokens, images=(_IMAGE_TOKENS,), clip_tokens=clip, kept=Kept())
