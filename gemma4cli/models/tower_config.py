"""The sections of config.json about what makes soft tokens of pictures and sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CheckpointError
from .config_values import (
    FILE,
    LARGEST_SIZE,
    Json,
    count,
    layer_count,
    need,
    need_size,
    positive,
    require,
    require_value,
)

_LONGEST_CHUNK = 256
"""Of the audio tower's attention, in soft tokens, and of its convolution: published are 12 or 13.
No tensor shows these sizes, and activations grow with their product."""
_MOST_POOLING = 16


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
        require_value(raw, "attention_bias", False, where)
        require_value(raw, "hidden_activation", "gelu_pytorch_tanh", where)
        rope = need(raw, "rope_parameters", Mapping, where)
        config = cls(
            hidden_size=need_size(raw, "hidden_size", where),
            intermediate_size=need_size(raw, "intermediate_size", where),
            num_layers=layer_count(raw, "num_hidden_layers", where),
            num_heads=need_size(raw, "num_attention_heads", where),
            num_kv_heads=need_size(raw, "num_key_value_heads", where),
            head_dim=need_size(raw, "head_dim", where),
            patch_size=need_size(raw, "patch_size", where),
            pooling=need_size(raw, "pooling_kernel_size", where, _MOST_POOLING),
            position_table_size=need_size(raw, "position_embedding_size", where),
            rope_theta=positive(rope, "rope_theta", f"{where}.rope_parameters"),
            rms_norm_eps=positive(raw, "rms_norm_eps", where, most=1),
            standardize=need(raw, "standardize", bool, where),
            clipped_linears=need(raw, "use_clipped_linears", bool, where),
        )
        require(
            config.num_heads % config.num_kv_heads == 0,
            where,
            f"num_attention_heads, {config.num_heads}, must be a multiple of num_key_value_heads, "
            f"{config.num_kv_heads}",
        )
        require(config.head_dim % 4 == 0, where, "head_dim must be a multiple of 4")
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
        require_value(raw, "hidden_act", "silu", where)
        channels = need(raw, "subsampling_conv_channels", list, where)
        if len(channels) != 2 or not all(
            type(each) is int and 1 <= each <= LARGEST_SIZE for each in channels
        ):
            raise CheckpointError(
                FILE, f"{where}.subsampling_conv_channels: must be two whole numbers from 1"
            )
        config = cls(
            hidden_size=need_size(raw, "hidden_size", where),
            num_layers=layer_count(raw, "num_hidden_layers", where),
            num_heads=need_size(raw, "num_attention_heads", where),
            chunk_size=need_size(raw, "attention_chunk_size", where, _LONGEST_CHUNK),
            context_left=need_size(raw, "attention_context_left", where, _LONGEST_CHUNK),
            context_right=count(raw, "attention_context_right", where, _LONGEST_CHUNK),
            logit_cap=positive(raw, "attention_logit_cap", where),
            invalid_logit=need(raw, "attention_invalid_logits_value", float, where),
            conv_kernel_size=need_size(raw, "conv_kernel_size", where, _LONGEST_CHUNK),
            conv_channels=(channels[0], channels[1]),
            output_dims=need_size(raw, "output_proj_dims", where),
            residual_weight=positive(raw, "residual_weight", where, most=100),
            gradient_clipping=positive(raw, "gradient_clipping", where),
            rms_norm_eps=positive(raw, "rms_norm_eps", where, most=1),
            clipped_linears=need(raw, "use_clipped_linears", bool, where),
        )
        require(
            config.hidden_size % config.num_heads == 0 and config.hidden_size % 2 == 0,
            where,
            "hidden_size must be even and a multiple of num_attention_heads",
        )
        require(
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
            rms_norm_eps=positive(raw, "rms_norm_eps", where, most=1),
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
            rms_norm_eps=positive(raw, "rms_norm_eps", where, most=1),
        )
