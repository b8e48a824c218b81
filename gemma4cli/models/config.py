"""config.json as frozen dataclasses, parsed strictly.

Unknown keys are ignored. Keys that affect results have no default: if one is missing, parsing fails
with an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..checked_json import LARGEST, JsonError, is_finite_number, number, shown, whole
from ..errors import CheckpointError, UnsupportedModelError

Json = Mapping[str, Any]
LayerType = Literal["sliding_attention", "full_attention"]
_LAYER_TYPES = get_args(LayerType)

_FILE = "config.json"
FAMILIES = {
    "gemma4": "gemma4",
    "gemma4_text": "gemma4",
    "gemma4_unified": "gemma4_unified",
    "gemma4_unified_text": "gemma4_unified",
}
"""Supported model types and the architecture of each."""


def need(section: Json, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """``section[key]``, which must exist and be of ``kind``.

    ``where`` names the section; it is empty for the file as a whole.
    """
    if key not in section:
        problem = f"lacks {key!r}, which affects the model's answers"
        raise CheckpointError(_FILE, f"{where} {problem}" if where else problem)
    value = section[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if float in kinds:
        kinds += (int,)
    is_bool = isinstance(value, bool)
    wrong_kind = not isinstance(value, kinds) or (
        is_bool and bool not in kinds and object not in kinds
    )
    is_number = isinstance(value, int | float) and not is_bool
    if wrong_kind or (is_number and not is_finite_number(value)):
        raise CheckpointError(_FILE, f"{_path(where, key)}: must not be {shown(value)}")
    return value


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


_LARGEST_SIZE = 2**24
"""Of a width, a vocabulary or a number of heads: 64 times the largest published one."""
_MOST_LAYERS = 1024
_LONGEST_CHUNK = 256
"""Of the audio tower's attention, in soft tokens, and of its convolution: published are 12 or 13.
No tensor shows these sizes, and activations grow with their product."""
_MOST_POOLING = 16
VISION_QUERIES = 2048
"""Patches whose attention weights the vision tower holds at once, where no kernel fuses them."""


def need_size(
    section: Json, key: str, where: str, most: int = _LARGEST_SIZE, least: int = 1
) -> int:
    """A whole number from ``least`` to ``most``."""
    value = need(section, key, object, where)
    try:
        return whole(value, _path(where, key), least=least, most=most)
    except JsonError as exc:
        raise CheckpointError(_FILE, str(exc)) from exc


def _size_or_none(section: Json, key: str, where: str) -> int | None:
    return None if need(section, key, object, where) is None else need_size(section, key, where)


def _count(section: Json, key: str, where: str, most: int = _LARGEST_SIZE) -> int:
    return need_size(section, key, where, most, least=0)


def _layers(section: Json, key: str, where: str) -> int:
    return need_size(section, key, where, _MOST_LAYERS)


def _positive(section: Json, key: str, where: str, most: float = 1e30) -> float:
    """A number above 0."""
    value = need(section, key, object, where)
    try:
        return number(value, _path(where, key), most=most, above=True)
    except JsonError as exc:
        raise CheckpointError(_FILE, str(exc)) from exc


def _require(condition: bool, where: str, problem: str) -> None:
    if not condition:
        raise CheckpointError(_FILE, f"{where}: {problem}")


def _require_value(section: Json, key: str, expected: object, where: str) -> None:
    value = need(section, key, object, where)
    if value != expected:
        raise UnsupportedModelError(
            f"a checkpoint whose {where} has {key} = {value!r}", f"every Gemma 4 has {expected!r}"
        )


MOST_SCORES = 1 << 26
"""Scores of queries and keys of a full-attention layer that are stored at once at most."""

_GROUPS = (64, 32)
"""Neighboring numbers that share a scale in a quantized KV cache."""


def group_size(width: int) -> int | None:
    """The first size of groups that divides heads of ``width`` numbers, or None."""
    return next((size for size in _GROUPS if width % size == 0), None)


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
        _require_value(raw, "attention_bias", False, where)
        _require_value(raw, "hidden_activation", "gelu_pytorch_tanh", where)
        layer_types = tuple(need(raw, "layer_types", list, where))
        num_layers = _layers(raw, "num_hidden_layers", where)
        known = all(kind in _LAYER_TYPES for kind in layer_types)
        if len(layer_types) != num_layers or not known:
            raise CheckpointError(
                _FILE, f"{where}: 'layer_types' must name a known type for each of the layers"
            )
        bidirectional = need(raw, "use_bidirectional_attention", (str, type(None)), where)
        if bidirectional not in (None, "vision"):
            raise UnsupportedModelError(
                f"a checkpoint with bidirectional attention over {bidirectional!r}",
                "g4 only generates text",
            )
        global_head_dim, global_kv_heads = _global_heads(raw, layer_types)
        ple_size = _count(raw, "hidden_size_per_layer_input", where)
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
            rms_norm_eps=_positive(raw, "rms_norm_eps", where, most=1),
            vocab_size=need_size(raw, "vocab_size", where),
            pad_token_id=_count(raw, "pad_token_id", where),
            max_positions=need_size(raw, "max_position_embeddings", where, LARGEST),
            k_eq_v=need(raw, "attention_k_eq_v", bool, where),
            num_kv_shared_layers=_count(raw, "num_kv_shared_layers", where),
            double_wide_mlp=need(raw, "use_double_wide_mlp", bool, where),
            ple_size=ple_size,
            ple_vocab_size=(need_size(raw, "vocab_size_per_layer_input", where) if ple_size else 0),
            moe=_moe(raw),
            tied_embeddings=_either_ties(raw, tied),
            logit_softcap=(
                None
                if need(raw, "final_logit_softcapping", object, where) is None
                else _positive(raw, "final_logit_softcapping", where)
            ),
            vision_blocks=bidirectional == "vision",
        )
        _check_together(config, stores_nothing=stores_nothing)
        return config


def _check_together(text: TextConfig, *, stores_nothing: bool) -> None:
    """Raise CheckpointError for values that exclude each other; tensors need not show it."""

    def require(condition: bool, problem: str) -> None:
        _require(condition, "text_config", problem)

    stored = text.layer_types[: max(text.num_stored_layers, 0)]
    require(
        text.num_stored_layers == 0 if stores_nothing else set(stored) == set(text.layer_types),
        "num_kv_shared_layers leaves no layer whose keys and values the others can share",
    )
    for heads in (text.num_kv_heads, text.num_global_kv_heads or text.num_kv_heads):
        require(
            text.num_heads % heads == 0,
            f"num_attention_heads, {text.num_heads}, must be a multiple of the key/value heads, "
            f"{heads}",
        )
    for size in (text.head_dim, text.global_head_dim):
        require(size % 2 == 0, f"the head size {size} must be even")
    require(
        text.moe is None or text.moe.top_k <= text.moe.num_experts,
        "top_k_experts must be at most num_experts",
    )
    require(
        text.pad_token_id < text.vocab_size,
        f"pad_token_id {text.pad_token_id} is outside the vocabulary of {text.vocab_size}",
    )
    require(
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
            _size_or_none(raw, "num_global_key_value_heads", "text_config"),
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
            _FILE, "text_config: 'per_layer_config' does not describe the full-attention layers"
        )
    where = "text_config.per_layer_config"
    kv_heads = "num_key_value_heads"
    return (
        need_size(first, "head_dim", where),
        _size_or_none(first, kv_heads, where) if kv_heads in first else None,
    )


def _rope(raw: Json, layer_type: str, rope_type: str) -> Rope:
    where = f"text_config.rope_parameters.{layer_type}"
    section = need(
        need(raw, "rope_parameters", Mapping, "text_config"),
        layer_type,
        Mapping,
        "text_config.rope_parameters",
    )
    _require_value(section, "rope_type", rope_type, where)
    partial = (
        1.0
        if rope_type == "default"
        else _positive(section, "partial_rotary_factor", where, most=1)
    )
    return Rope(theta=_positive(section, "rope_theta", where), partial_factor=partial)


def _moe(raw: Json) -> MoeConfig | None:
    where = "text_config"
    if not need(raw, "enable_moe_block", bool, where):
        return None
    return MoeConfig(
        num_experts=need_size(raw, "num_experts", where),
        top_k=need_size(raw, "top_k_experts", where),
        intermediate_size=need_size(raw, "moe_intermediate_size", where),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The vision tower of all models except the 12B."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    patch_size: int
    pooling: int
    position_table_size: int
    rope_theta: float
    rms_norm_eps: float
    standardize: bool
    clipped_linears: bool

    @classmethod
    def from_dict(cls, raw: Json) -> VisionConfig:
        where = "vision_config"
        _require_value(raw, "attention_bias", False, where)
        _require_value(raw, "hidden_activation", "gelu_pytorch_tanh", where)
        rope = need(raw, "rope_parameters", Mapping, where)
        config = cls(
            hidden_size=need_size(raw, "hidden_size", where),
            intermediate_size=need_size(raw, "intermediate_size", where),
            num_layers=_layers(raw, "num_hidden_layers", where),
            num_heads=need_size(raw, "num_attention_heads", where),
            num_kv_heads=need_size(raw, "num_key_value_heads", where),
            head_dim=need_size(raw, "head_dim", where),
            patch_size=need_size(raw, "patch_size", where),
            pooling=need_size(raw, "pooling_kernel_size", where, _MOST_POOLING),
            position_table_size=need_size(raw, "position_embedding_size", where),
            rope_theta=_positive(rope, "rope_theta", f"{where}.rope_parameters"),
            rms_norm_eps=_positive(raw, "rms_norm_eps", where, most=1),
            standardize=need(raw, "standardize", bool, where),
            clipped_linears=need(raw, "use_clipped_linears", bool, where),
        )
        _require(
            config.num_heads % config.num_kv_heads == 0,
            where,
            f"num_attention_heads, {config.num_heads}, must be a multiple of num_key_value_heads, "
            f"{config.num_kv_heads}",
        )
        _require(config.head_dim % 4 == 0, where, "head_dim must be a multiple of 4")
        return config


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioConfig:
    """The Conformer audio tower of E2B and E4B."""

    hidden_size: int
    num_layers: int
    num_heads: int
    chunk_size: int
    context_left: int
    context_right: int
    logit_cap: float
    invalid_logit: float
    conv_kernel_size: int
    conv_channels: tuple[int, int]
    output_dims: int
    residual_weight: float
    gradient_clipping: float
    rms_norm_eps: float
    clipped_linears: bool

    @classmethod
    def from_dict(cls, raw: Json) -> AudioConfig:
        where = "audio_config"
        _require_value(raw, "hidden_act", "silu", where)
        channels = need(raw, "subsampling_conv_channels", list, where)
        if len(channels) != 2 or not all(
            type(each) is int and 1 <= each <= _LARGEST_SIZE for each in channels
        ):
            raise CheckpointError(
                _FILE, f"{where}.subsampling_conv_channels: must be two whole numbers from 1"
            )
        config = cls(
            hidden_size=need_size(raw, "hidden_size", where),
            num_layers=_layers(raw, "num_hidden_layers", where),
            num_heads=need_size(raw, "num_attention_heads", where),
            chunk_size=need_size(raw, "attention_chunk_size", where, _LONGEST_CHUNK),
            context_left=need_size(raw, "attention_context_left", where, _LONGEST_CHUNK),
            context_right=_count(raw, "attention_context_right", where, _LONGEST_CHUNK),
            logit_cap=_positive(raw, "attention_logit_cap", where),
            invalid_logit=need(raw, "attention_invalid_logits_value", float, where),
            conv_kernel_size=need_size(raw, "conv_kernel_size", where, _LONGEST_CHUNK),
            conv_channels=(channels[0], channels[1]),
            output_dims=need_size(raw, "output_proj_dims", where),
            residual_weight=_positive(raw, "residual_weight", where, most=100),
            gradient_clipping=_positive(raw, "gradient_clipping", where),
            rms_norm_eps=_positive(raw, "rms_norm_eps", where, most=1),
            clipped_linears=need(raw, "use_clipped_linears", bool, where),
        )
        _require(
            config.hidden_size % config.num_heads == 0 and config.hidden_size % 2 == 0,
            where,
            "hidden_size must be even and a multiple of num_attention_heads",
        )
        _require(
            config.conv_channels[0] % 4 == 0,
            where,
            "subsampling_conv_channels: the first must be a multiple of 4",
        )
        return config


@dataclass(frozen=True, kw_only=True, slots=True)
class UnifiedVisionConfig:
    """The 12B's patch embedder; ``patch_size`` is that of the merged patches, 48 pixels."""

    embed_dim: int
    patch_size: int
    position_table_size: int
    output_dims: int
    rms_norm_eps: float

    @classmethod
    def from_dict(cls, raw: Json) -> UnifiedVisionConfig:
        where = "vision_config"
        return cls(
            embed_dim=need_size(raw, "mm_embed_dim", where),
            patch_size=need_size(raw, "model_patch_size", where),
            position_table_size=need_size(raw, "mm_posemb_size", where),
            output_dims=need_size(raw, "output_proj_dims", where),
            rms_norm_eps=_positive(raw, "rms_norm_eps", where, most=1),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class UnifiedAudioConfig:
    """The 12B's raw audio frames: ``embed_dim`` samples become one soft token."""

    embed_dim: int
    rms_norm_eps: float

    @classmethod
    def from_dict(cls, raw: Json) -> UnifiedAudioConfig:
        where = "audio_config"
        return cls(
            embed_dim=need_size(raw, "audio_embed_dim", where),
            rms_norm_eps=_positive(raw, "rms_norm_eps", where, most=1),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceholderIds:
    """The ids of the placeholders that soft tokens replace."""

    image: int
    audio: int
    video: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gemma4Config:
    """The config of one checkpoint. ``vision`` or ``audio`` is None if the model lacks it."""

    unified: bool
    text: TextConfig
    vision: VisionConfig | UnifiedVisionConfig | None
    audio: AudioConfig | UnifiedAudioConfig | None
    placeholders: PlaceholderIds | None

    @property
    def architecture(self) -> str:
        """The model type, and the number of experts if there are any."""
        kind = "gemma4_unified" if self.unified else "gemma4"
        moe = self.text.moe
        return kind if moe is None else f"{kind}, mixture of {moe.num_experts} experts"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The media that the model accepts."""
        seen = ("image", "video") if self.vision is not None else ()
        return ("text", *seen, *(("audio",) if self.audio is not None else ()))

    @classmethod
    def from_dict(cls, raw: Json) -> Gemma4Config:
        """Parse config.json.

        Raises UnsupportedModelError if the model is not a Gemma 4 or is quantized for another
        runtime, and CheckpointError for a missing or invalid value.
        """
        model_type = raw.get("model_type")
        if isinstance(model_type, str) and model_type.endswith("_assistant"):
            raise UnsupportedModelError(
                "a drafter, which only guesses tokens for its model",
                "name the model with -m, and this with --draft",
            )
        if not isinstance(model_type, str) or model_type not in FAMILIES:
            raise UnsupportedModelError(
                f"a checkpoint of type {model_type!r}", "g4 runs Gemma 4 only"
            )
        _refuse_foreign_quantization(raw)
        unified = FAMILIES[model_type] == "gemma4_unified"
        if model_type.endswith("_text"):
            return cls(
                unified=unified,
                text=TextConfig.from_dict(raw),
                vision=None,
                audio=None,
                placeholders=None,
            )
        vision, audio = (_medium(raw, key) for key in ("vision_config", "audio_config"))
        vision_class = UnifiedVisionConfig if unified else VisionConfig
        audio_class = UnifiedAudioConfig if unified else AudioConfig
        return cls(
            unified=unified,
            text=TextConfig.from_dict(need(raw, "text_config", Mapping, ""), tied=_tied(raw)),
            vision=vision_class.from_dict(vision) if vision else None,
            audio=audio_class.from_dict(audio) if audio else None,
            placeholders=PlaceholderIds(
                image=_count(raw, "image_token_id", ""),
                audio=_count(raw, "audio_token_id", ""),
                video=_count(raw, "video_token_id", ""),
            ),
        )


def _either_ties(text: Json, outer: bool | None) -> bool:
    """Whether the text config or the outer one ties the head; one of them must say."""
    key = "tie_word_embeddings"
    if outer or (outer is False and text.get(key) is None):
        return outer
    return bool(need(text, key, bool, "text_config"))


def _tied(raw: Json) -> bool | None:
    """The outer ``tie_word_embeddings``; None if it is missing or null."""
    key = "tie_word_embeddings"
    return need(raw, key, (bool, type(None)), "") if key in raw else None


def _medium(raw: Json, key: str) -> Json | None:
    """The section of a medium; None if the model lacks it."""
    return need(raw, key, Mapping, "") if raw.get(key) else None


def _refuse_foreign_quantization(raw: Json) -> None:
    section = raw.get("quantization_config")
    if "quantization" in raw or not section:
        return
    method = section.get("quant_method") if isinstance(section, Mapping) else None
    if method is not None:
        raise UnsupportedModelError(
            f"weights quantized with {method}",
            "MLX has no kernels for them; use an MLX conversion such as those of mlx-community",
        )
