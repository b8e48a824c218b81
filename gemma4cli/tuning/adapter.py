"""A new adapter in a network: its layers and its parameters."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from ..errors import OptionError
from ..models.adapters import LowRank, adapted, low_rank_layers, plain_shape
from ..models.gemma4 import Gemma4
from ..models.training import use_fast_additions

_TEXT = r"language_model\.model\.layers\.\d+\."
_GROUPS = {
    "attention": _TEXT + r"self_attn\.[qkvo]_proj",
    "mlp": _TEXT + r"mlp\.(gate|up|down)_proj",
    "per-layer": _TEXT + r"per_layer_(input_gate|projection)",
    "experts": _TEXT + r"experts\.switch_glu\.(gate|up|down)_proj",
    "projections": r"embed_(vision|audio)\.embedding_projection",
    "vision": r"vision_tower\.encoder\.layers\.\d+\..+\.linear",
    "audio": r"audio_tower\.layers\.\d+\..+\.linear",
}
"""The layers that can be tuned together, by a word."""
_TOWERS = ("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
_ABBREVIATED = re.compile(r"[a-z]\w*")


@dataclass(frozen=True, kw_only=True, slots=True)
class LowRankOptions:
    """Which layers get an addition, and of which rank; its factor is ``alpha / rank``."""

    rank: int
    alpha: float
    targets: tuple[str, ...]


def target_paths(network: Gemma4, targets: Sequence[str]) -> list[str]:
    """The layers that ``targets`` name: groups, or last names of the language model's layers.

    Raises OptionError for a target that names no layer of this model.
    """
    linear = [
        path
        for path, module in network.named_modules()
        if "weight" in module and module["weight"].ndim in (2, 3) and not _is_other(module)
    ]
    found: set[str] = set()
    for target in targets:
        pattern = _GROUPS.get(target)
        if pattern is None and _ABBREVIATED.fullmatch(target):
            pattern = _TEXT + rf"(\w+\.)*{target}"
        chosen = [path for path in linear if pattern and re.fullmatch(pattern, path)]
        if not chosen:
            raise OptionError(
                f"--targets {target}: this model has no such layers: use {', '.join(_GROUPS)}, "
                "or a layer's last name such as q_proj"
            )
        found |= set(chosen)
    return [path for path in linear if path in found]


def _is_other(module: nn.Module) -> bool:
    """Whether it is a table of embeddings, or a convolution."""
    return hasattr(module, "as_linear") or isinstance(module, nn.Conv1d)


def in_towers(paths: Iterable[str]) -> bool:
    """Whether any of these layers makes soft tokens."""
    return any(path.startswith(_TOWERS) for path in paths)


def with_new_adapter(network: Gemma4, options: LowRankOptions, seed: int) -> Gemma4:
    """``network`` with additions that change nothing yet: ``a`` is random, ``b`` zero.

    Only they are trainable. In float32, whatever the weights are in.
    """
    changes = []
    layers = dict(network.named_modules())
    for path in target_paths(network, options.targets):
        *experts, outputs, inputs = plain_shape(layers[path])
        key = mx.random.key((seed << 32 | zlib.crc32(path.encode())) & (2**63 - 1))
        bound = inputs**-0.5
        a = mx.random.uniform(-bound, bound, (*experts, options.rank, inputs), key=key)
        b = mx.zeros((*experts, outputs, options.rank))
        scale = options.alpha / options.rank
        changes.append(LowRank(path=path, tensor=path, a=a, b=b, scale=scale, down_scale=scale))
    tuned = adapted(network, changes, head_follows=True)
    use_fast_additions(tuned)
    tuned.freeze()
    for layer in low_rank_layers(tuned):
        layer.unfreeze(recurse=False, keys=["lora_a", "lora_b"])
    return tuned
