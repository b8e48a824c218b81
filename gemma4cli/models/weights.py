"""Load checkpoint tensors into a Gemma4: names, layouts, quantized layers, dtype.

Accepts Google's, mlx-vlm's and mlx-lm's text-only layouts, with or without the unused key and value
weights of layers that reuse another layer's. ``sanitize`` is idempotent. All arrays stay lazy,
except that an output head is compared with the embeddings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..errors import CheckpointError, WeightsMismatchError
from .config import Gemma4Config
from .config_values import Json
from .names import EMBEDDINGS, HEAD, canonical_name, canonical_names
from .tower_config import AudioConfig, VisionConfig

Weights = dict[str, mx.array]

_KINDS = {
    "affine": {(bits, group) for bits in (1, 2, 3, 4, 5, 6, 8) for group in (32, 64, 128)},
    "mxfp4": {(4, 32)},
    "mxfp8": {(8, 32)},
    "nvfp4": {(4, 16)},
}
"""Bits and group sizes that MLX's kernels support, by mode."""
_TEXT = "language_model."
_ORDERING = "masked_embedding.token_ordering"
_LAYER = re.compile(r"^language_model\.model\.layers\.(\d+)\.")
_SHARED_PARTS = ("self_attn.k_proj", "self_attn.v_proj", "self_attn.k_norm", "self_attn.v_norm")
_CLIP_BOUNDS = (".input_min", ".input_max", ".output_min", ".output_max")
_STATISTICS = ("vision_tower.std_bias", "vision_tower.std_scale")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization:
    """The settings of a quantized layer."""

    group_size: int
    bits: int
    mode: str

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.mode}, groups of {self.group_size}"


def fit_config(config: Gemma4Config, names: Collection[str]) -> Gemma4Config:
    """``config`` without the media for which the checkpoint has no tensors."""

    def present(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) and not _is_value_range(name) for name in names)

    return replace(
        config,
        vision=config.vision
        if present("vision_tower.", "vision_embedder.", "embed_vision.")
        else None,
        audio=config.audio if present("audio_tower.", "embed_audio.") else None,
    )


def renamed(weights: Mapping[str, mx.array]) -> Weights:
    """``weights`` under their names in MLX's layout, without leftovers of training tools.

    Raises CheckpointError for tensors of an adapter that is not merged.
    """
    return {canonical: weights[name] for name, canonical in canonical_names(weights).items()}


def fit_head(config: Gemma4Config, weights: Weights) -> tuple[Gemma4Config, Weights]:
    """Tie or untie the output head by the tensors, whatever the config says; as transformers does.

    A head that differs from the embeddings is used. One that equals them is dropped, which saves
    memory. In a tied checkpoint that has only a head, the embeddings are the head. ``weights`` have
    canonical names.
    """
    head = _part(weights, HEAD)
    embeddings = _part(weights, EMBEDDINGS)
    if not head:
        return config, weights
    rest = {name: value for name, value in weights.items() if not name.startswith(HEAD)}
    tied = False
    if not embeddings and config.text.tied_embeddings:
        rest |= {f"{EMBEDDINGS}{name}": value for name, value in head.items()}
        tied = True
    elif head.keys() == embeddings.keys():
        tied = all(_equal(value, embeddings[name]) for name, value in head.items())
    text = replace(config.text, tied_embeddings=tied)
    return replace(config, text=text), rest if tied else weights


def _part(weights: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


_ROWS = 16384
"""Rows that are compared at once."""


def _equal(one: mx.array, other: mx.array) -> bool:
    if one.shape != other.shape or not one.ndim:
        return False
    return all(
        mx.array_equal(one[start : start + _ROWS], other[start : start + _ROWS]).item()
        for start in range(0, one.shape[0], _ROWS)
    )


def sanitize(weights: Mapping[str, mx.array], config: Gemma4Config) -> Weights:
    """Rename to MLX's layout, split fused experts, narrow ids, drop tensors that no layer uses.

    Tensors of a medium that the config lacks are kept, so that loading reports them.
    """
    result: Weights = {}
    for name, value in renamed(weights).items():
        if not is_used(name, config):
            continue
        if name.endswith(".experts.gate_up_proj"):
            base = name.removesuffix("gate_up_proj")
            # As whole arrays: kernels would copy a part of a larger one each time.
            gate, up = map(mx.contiguous, mx.split(value, 2, axis=-2))
            result[f"{base}switch_glu.gate_proj.weight"] = gate
            result[f"{base}switch_glu.up_proj.weight"] = up
        elif name.endswith(".experts.down_proj"):
            base = name.removesuffix("down_proj")
            result[f"{base}switch_glu.down_proj.weight"] = value
        elif name == _ORDERING and mx.issubdtype(value.dtype, mx.integer):
            result[name] = value.astype(mx.int32)
        else:
            result[name] = value
    return result


def is_used(name: str, config: Gemma4Config) -> bool:
    """Whether a layer uses a tensor: not keys of one that reuses another's, nor ranges of none."""
    return not _is_shared_kv(name, config) and not _is_switched_off(name, config)


def _is_value_range(name: str) -> bool:
    """Whether a tensor of a tower is a range or statistic, which mean nothing without weights."""
    return name in _STATISTICS or (
        name.startswith(("vision_tower.", "audio_tower.")) and name.endswith(_CLIP_BOUNDS)
    )


def _is_switched_off(name: str, config: Gemma4Config) -> bool:
    """Whether a tower's value ranges are not used: the config says so, or there is no tower."""
    if not _is_value_range(name):
        return False
    tower = config.vision if name.startswith("vision_tower.") else config.audio
    if name in _STATISTICS:
        return not isinstance(tower, VisionConfig) or not tower.standardize
    return not isinstance(tower, VisionConfig | AudioConfig) or not tower.clipped_linears


def _is_shared_kv(name: str, config: Gemma4Config) -> bool:
    match = _LAYER.match(name)
    if match is None or int(match.group(1)) < config.text.num_stored_layers:
        return False
    return name[match.end() :].startswith(_SHARED_PARTS)


def quantize_layers(network: nn.Module, weights: Weights, raw_config: Json) -> set[Quantization]:
    """Quantize the layers for which ``weights`` has scales; returns the kinds found.

    Bits and group size follow from the tensors' shapes, so the config's per-layer overrides are not
    needed. The mode is affine if there are biases, and otherwise the config's.
    """
    section = raw_config.get("quantization") or raw_config.get("quantization_config")
    section = section if isinstance(section, Mapping) else {}
    modes = {
        canonical_name(key): value.get("mode")
        for key, value in section.items()
        if isinstance(value, Mapping)
    }
    kinds: set[Quantization] = set()

    def settings(path: str, module: nn.Module) -> bool | dict[str, object]:
        scales = weights.get(f"{path}.scales")
        packed = weights.get(f"{path}.weight")
        if scales is None or packed is None or not hasattr(module, "to_quantized"):
            return False
        affine = f"{path}.biases" in weights
        mode = "affine" if affine else modes.get(path) or section.get("mode")
        width = module.weight.shape[-1]
        kind = _kind_of(path, mode, width, packed.shape[-1], scales.shape[-1])
        kinds.add(kind)
        return {"group_size": kind.group_size, "bits": kind.bits, "mode": kind.mode}

    nn.quantize(network, class_predicate=settings)
    return kinds


def _kind_of(path: str, mode: object, width: int, packed: int, groups: int) -> Quantization:
    if not isinstance(mode, str) or mode not in _KINDS:
        raise CheckpointError(
            "config.json", f"quantization of {path} has mode {mode!r}; known: {', '.join(_KINDS)}"
        )
    bits, odd_bits = divmod(packed * 32, width)
    group_size, odd_groups = divmod(width, groups)
    if odd_bits or odd_groups or (bits, group_size) not in _KINDS[mode]:
        raise WeightsMismatchError([], [], [f"{path}.weight"])
    return Quantization(group_size=group_size, bits=bits, mode=mode)


def load_weights(
    network: nn.Module, weights: Weights, dtype: mx.Dtype | None, stored: Collection[str] = ()
) -> None:
    """Load ``weights`` into ``network``; floating-point ones are cast to ``dtype`` unless None.

    Those named in ``stored`` keep their type, because their layers read any.

    With None, a language model in several dtypes is computed in that of most of its numbers: MLX
    would widen each layer to the widest of its tensors.
    Raises WeightsMismatchError for missing, unexpected or misshapen tensors, and CheckpointError
    for one of a type that its layer does not compute with.
    """
    expected = dict(tree_flatten(network.parameters()))
    missing = sorted(expected.keys() - weights.keys())
    unexpected = sorted(weights.keys() - expected.keys())
    fitted = {
        name: _channels_last(weights[name], expected[name].shape)
        for name in expected.keys() & weights.keys()
    }
    misshapen = sorted(n for n, value in fitted.items() if value.shape != expected[n].shape)
    if missing or unexpected or misshapen:
        raise WeightsMismatchError(missing, unexpected, misshapen)
    for name in sorted(fitted):
        _require_type(name, fitted[name].dtype, expected[name].dtype)
    if dtype is not None:
        fitted = {
            name: value.astype(dtype)
            if mx.issubdtype(value.dtype, mx.floating) and name not in stored
            else value
            for name, value in fitted.items()
        }
    else:
        fitted |= _in_one_dtype(_part(fitted, _TEXT), _TEXT)
    network.load_weights(list(fitted.items()), strict=True)
    network.eval()


_FLOATS = (mx.float32, mx.bfloat16, mx.float16)


def _require_type(name: str, found: mx.Dtype, expected: mx.Dtype) -> None:
    """Raise CheckpointError unless a tensor is floating-point or packed as its layer expects."""
    if found != expected and not (found in _FLOATS and expected in _FLOATS):
        needed = "a floating-point type of 16 or 32 bits" if expected in _FLOATS else str(expected)
        raise CheckpointError(
            "model.safetensors", f"{name} is of type {found}, but its layer needs {needed}"
        )


def _in_one_dtype(text: Weights, prefix: str) -> Weights:
    floats = {n: value for n, value in text.items() if mx.issubdtype(value.dtype, mx.floating)}
    counts: Counter[mx.Dtype] = Counter()
    for value in floats.values():
        counts[value.dtype] += value.size
    if len(counts) < 2:
        return {}
    ((most, _),) = counts.most_common(1)
    return {f"{prefix}{name}": value.astype(most) for name, value in floats.items()}


def _channels_last(value: mx.array, shape: tuple[int, ...]) -> mx.array:
    """Convolution weights in MLX's order (channels last) if they are in torch's (second)."""
    if value.ndim not in (3, 4) or value.shape == shape:
        return value
    moved = mx.moveaxis(value, 1, -1)
    return moved if moved.shape == shape else value
