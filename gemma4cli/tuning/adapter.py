"""A new adapter in a network: its layers, its parameters, and its files in PEFT's layout."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import mlx.core as mx

from ..errors import OptionError
from ..hub.adapter_names import CONFIG, PEFT_WEIGHTS
from ..models.adapters import LowRank, adapted, low_rank_layers, plain_shape
from ..models.config import Gemma4Config
from ..models.gemma4 import Gemma4
from ..own_files import shared_mode, whole_file

_TEXT = r"language_model\.model\.layers\.\d+\."
_GROUPS = {
    "attention": _TEXT + r"self_attn\.[qkvo]_proj",
    "mlp": _TEXT + r"mlp\.(gate|up|down)_proj",
    "per-layer": _TEXT + r"per_layer_(input_gate|projection)",
    "projections": r"embed_(vision|audio)\.embedding_projection",
    "vision": r"vision_tower\.encoder\.layers\.\d+\..+\.linear",
    "audio": r"audio_tower\.layers\.\d+\..+\.linear",
}
"""The layers that can be tuned together, by a word."""
GROUPS = tuple(_GROUPS)
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
        if "weight" in module and module["weight"].ndim == 2 and not hasattr(module, "as_linear")
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
        outputs, inputs = plain_shape(layers[path])
        key = mx.random.key((seed << 32 | zlib.crc32(path.encode())) & (2**63 - 1))
        bound = inputs**-0.5
        a = mx.random.uniform(-bound, bound, (options.rank, inputs), key=key)
        b = mx.zeros((outputs, options.rank))
        scale = options.alpha / options.rank
        changes.append(LowRank(path=path, tensor=path, a=a, b=b, scale=scale, down_scale=scale))
    tuned = adapted(network, changes, head_follows=True)
    tuned.freeze()
    for layer in low_rank_layers(tuned):
        layer.unfreeze(recurse=False, keys=["lora_a", "lora_b"])
    return tuned


Layout = Literal["gemma4", "gemma4_unified", "text"]
"""The class of transformers that a PEFT adapter is for, as far as its modules' names differ."""


def layout_of(config: Gemma4Config) -> Layout:
    if config.placeholders is None:
        return "text"
    return "gemma4_unified" if config.unified else "gemma4"


def peft_name(name: str, layout: Layout) -> str:
    """The name in a PEFT file of a parameter of the network with an adapter.

    "language_model.model.layers.0.mlp.up_proj.lora_a"
    ->  "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight"
    """
    path, _, part = name.rpartition(".")
    if path.startswith("language_model.model."):
        inner = path.removeprefix("language_model.model.")
        path = f"model.{inner}" if layout == "text" else f"model.language_model.{inner}"
    elif path.startswith("embed_vision.") and layout == "gemma4_unified":
        path = f"model.embed_vision.multimodal_embedder.{path.removeprefix('embed_vision.')}"
    else:
        path = f"model.{path}"
    return f"base_model.model.{path}.{'lora_A' if part == 'lora_a' else 'lora_B'}.weight"


def write_adapter(
    folder: Path,
    parameters: Mapping[str, mx.array],
    options: LowRankOptions,
    *,
    base: str,
    layout: Layout,
) -> None:
    """Write parameters of ``with_new_adapter``, by their names in the network. Raises OSError."""
    tensors = {
        peft_name(name, layout): mx.contiguous(value.T) for name, value in parameters.items()
    }
    modules = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "target_modules": sorted(modules),
    }
    save_tensors(folder / PEFT_WEIGHTS, tensors, {"format": "pt"})
    with whole_file(folder / CONFIG, mode=shared_mode()) as file:
        file.write(json.dumps(config, indent=2).encode() + b"\n")


def save_tensors(path: Path, tensors: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """A safetensors file that gets its name when it is complete. Raises OSError."""
    with whole_file(path, mode=shared_mode()) as file:
        mx.save_safetensors(file, dict(tensors), dict(metadata))


def load_tensors(path: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The tensors of a file and its metadata. Raises RuntimeError or ValueError."""
    loaded = mx.load(str(path), return_metadata=True)
    return cast("tuple[dict[str, mx.array], dict[str, str]]", loaded)
