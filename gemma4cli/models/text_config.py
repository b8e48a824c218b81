"""The language model's section of config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ..checked_json import LARGEST
from ..errors import CheckpointError, UnsupportedModelError
from .config_values import (
    FILE,
    Json,
    count,
    layer_count,
    need,
    need_size,
    positive,
    require,
    require_value,
    size_or_none,
)

LayerType = Literal["sliding_attention", "full_attention"]
_LAYER_TYPES = get_args(LayerType)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rope:
    """Rotary embedding of one layer type; ``partial_factor`` 1.0 rotates the whole head."""

    theta: float
    partial_factor: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MoeConfig:
    """The mixture of experts that runs in parallel with each layer's dense MLP (26B-A4B)."""

    num_experts: int
    top_k: int
    intermediate_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The language model. ``vision_blocks``: attention is bidirectional within image blocks."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    num_global_kv_heads: int | None
    head_dim: int
    global_head_dim: int
    layer_types: tuple[LayerType, ...]
    sliding_window: int
    rope_sliding: Rope
    rope_full: Rope
    rms_norm_eps: float
    vocab_size: int
    pad_token_id: int
    max_positions: int
    k_eq_v: bool
    num_kv_shared_layers: int
    double_wide_mlp: bool
    ple_size: int
    ple_vocab_size: int
    moe: MoeConfig | None
    tied_embeddings: bool
    logit_softcap: float | None
    vision_blocks: bool

    @property
    def num_stored_layers(self) -> int:
        """The number of layers that compute their own keys and values; later ones reuse those."""
        return self.num_layers - self.num_kv_shared_layers

    @classmethod
    def from_dict(
        cls, raw: Json, *, tied: bool | None = None, stores_nothing: bool = False
    ) -> TextConfig:
        """``tied``: the outer config's ``tie_word_embeddings``; either of the two can tie.

        They matter only for a checkpoint that lacks the embeddings or the output head. With
        ``stores_nothing``, all layers use the keys and values of another network.
        """
        where = "text_config"
        require_value(raw, "attention_bias", False, where)
        require_value(raw, "hidden_activation", "gelu_pytorch_tanh", where)
        layer_types = tuple(need(raw, "layer_types", list, where))
        num_layers = layer_count(raw, "num_hidden_layers", where)
        known = all(kind in _LAYER_TYPES for kind in layer_types)
        if len(layer_types) != num_layers or not known:
            raise CheckpointError(
                FILE, f"{where}: 'layer_types' must name a known type for each of the layers"
            )
        bidirectional = need(raw, "use_bidirectional_attention", (str, type(None)), where)
        if bidirectional not in (None, "vision"):
            raise UnsupportedModelError(
                f"a checkpoint with bidirectional attention over {bidirectional!r}",
                "g4 only generates text",
            )
        global_head_dim, global_kv_heads = _global_heads(raw, layer_types)
        ple_size = count(raw, "hidden_size_per_layer_input", where)
        config = cls(
            hidden_size=need_size(raw, "hidden_size", where),
            intermediate_size=need_size(raw, "intermediate_size", where),
            num_layers=num_layers,
            num_heads=need_size(raw, "num_attention_heads", where),
            num_kv_heads=need_size(raw, "num_key_value_heads", where),
            num_global_kv_heads=global_kv_heads,
            head_dim=need_size(raw, "head_dim", where),
            global_head_dim=global_head_dim,
            layer_types=layer_types,
            sliding_window=need_size(raw, "sliding_window", where, LARGEST),
            rope_sliding=_rope(raw, "sliding_attention", "default"),
            rope_full=_rope(raw, "full_attention", "proportional"),
            rms_norm_eps=positive(raw, "rms_norm_eps", where, most=1),
            vocab_size=need_size(raw, "vocab_size", where),
            pad_token_id=count(raw, "pad_token_id", where),
            max_positions=need_size(raw, "max_position_embeddings", where, LARGEST),
            k_eq_v=need(raw, "attention_k_eq_v", bool, where),
            num_kv_shared_layers=count(raw, "num_kv_shared_layers", where),
            double_wide_mlp=need(raw, "use_double_wide_mlp", bool, where),
            ple_size=ple_size,
            ple_vocab_size=(need_size(raw, "vocab_size_per_layer_input", where) if ple_size else 0),
            moe=_moe(raw),
            tied_embeddings=_either_ties(raw, tied),
            logit_softcap=(
                None
                if need(raw, "final_logit_softcapping", object, where) is None
                else positive(raw, "final_logit_softcapping", where)
            ),
            vision_blocks=bidirectional == "vision",
        )
        _check_together(config, stores_nothing=stores_nothing)
        return config


def _check_together(text: TextConfig, *, stores_nothing: bool) -> None:
    """Raise CheckpointError for values that exclude each other; tensors need not show it."""

    def check(condition: bool, problem: str) -> None:
        require(condition, "text_config", problem)

    stored = text.layer_types[: max(text.num_stored_layers, 0)]
    check(
        text.num_stored_layers == 0 if stores_nothing else set(stored) == set(text.layer_types),
        "num_kv_shared_layers leaves no layer whose keys and values the others can share",
    )
    for heads in (text.num_kv_heads, text.num_global_kv_heads or text.num_kv_heads):
        check(
            text.num_heads % heads == 0,
            f"num_attention_heads, {text.num_heads}, must be a multiple of the key/value heads, "
            f"{heads}",
        )
    for size in (text.head_dim, text.global_head_dim):
        check(size % 2 == 0, f"the head size {size} must be even")
    check(
        text.moe is None or text.moe.top_k <= text.moe.num_experts,
        "top_k_experts must be at most num_experts",
    )
    check(
        text.pad_token_id < text.vocab_size,
        f"pad_token_id {text.pad_token_id} is outside the vocabulary of {text.vocab_size}",
    )
    check(
        not text.ple_size or text.pad_token_id < text.ple_vocab_size,
        f"pad_token_id {text.pad_token_id} is outside the per-layer vocabulary of "
        f"{text.ple_vocab_size}",
    )


def _global_heads(raw: Json, layer_types: tuple[str, ...]) -> tuple[int, int | None]:
    """Head size and number of key/value heads of the full-attention layers.

    Released files have a key for each; files saved by transformers 5.2x list overrides per layer.
    """
    if "global_head_dim" in raw or "per_layer_config" not in raw:
        return (
            need_size(raw, "global_head_dim", "text_config"),
            size_or_none(raw, "num_global_key_value_heads", "text_config"),
        )
    per_layer = need(raw, "per_layer_config", Mapping, "text_config")
    overrides = [
        per_layer[key]
        for i, kind in enumerate(layer_types)
        if kind == "full_attention"
        for key in (str(i), kind)
        if key in per_layer
    ]
    first = overrides[0] if overrides else None
    if not isinstance(first, Mapping) or any(o != first for o in overrides):
        raise CheckpointError(
            FILE, "text_config: 'per_layer_config' does not describe the full-attention layers"
        )
    where = "text_config.per_layer_config"
    kv_heads = "num_key_value_heads"
    return (
        need_size(first, "head_dim", where),
        size_or_none(first, kv_heads, where) if kv_heads in first else None,
    )


def _rope(raw: Json, layer_type: str, rope_type: str) -> Rope:
    where = f"text_config.rope_parameters.{layer_type}"
    section = need(
        need(raw, "rope_parameters", Mapping, "text_config"),
        layer_type,
        Mapping,
        "text_config.rope_parameters",
    )
    require_value(section, "rope_type", rope_type, where)
    partial = (
        1.0 if rope_type == "default" else positive(section, "partial_rotary_factor", where, most=1)
    )
    return Rope(theta=positive(section, "rope_theta", where), partial_factor=partial)


def _moe(raw: Json) -> MoeConfig | None:
    where = "text_config"
    if not need(raw, "enable_moe_block", bool, where):
        return None
    return MoeConfig(
        num_experts=need_size(raw, "num_experts", where),
        top_k=need_size(raw, "top_k_experts", where),
        intermediate_size=need_size(raw, "moe_intermediate_size", where),
    )


def _either_ties(text: Json, outer: bool | None) -> bool:
    """Whether the text config or the outer one ties the head; one of them must say."""
    key = "tie_word_embeddings"
    if outer or (outer is False and text.get(key) is None):
        return outer
    return bool(need(text, key, bool, "text_config"))
