"""The shapes of the built-in model: Gemma 4 E2B with every kind of layer, in miniature."""

from __future__ import annotations

from transformers import Gemma4AudioConfig, Gemma4Config, Gemma4TextConfig, Gemma4VisionConfig

from .special_tokens import ID_OF, MARKERS

GLOBAL_HEAD_DIM = 64
LAYER_TYPES = ("sliding_attention", "sliding_attention", "full_attention") * 2


def text_config(vocab_size: int) -> Gemma4TextConfig:
    return Gemma4TextConfig(
        vocab_size=vocab_size,
        vocab_size_per_layer_input=vocab_size,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=len(LAYER_TYPES),
        layer_types=list(LAYER_TYPES),
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        global_head_dim=GLOBAL_HEAD_DIM,
        hidden_size_per_layer_input=16,
        num_kv_shared_layers=2,
        use_double_wide_mlp=True,
        sliding_window=256,
        max_position_embeddings=8192,
        final_logit_softcapping=30.0,
        pad_token_id=ID_OF["<pad>"],
        bos_token_id=ID_OF["<bos>"],
        eos_token_id=ID_OF["<eos>"],
    )


def vision_config() -> Gemma4VisionConfig:
    return Gemma4VisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        patch_size=16,
        pooling_kernel_size=3,
        position_embedding_size=384,
        use_clipped_linears=True,
        standardize=False,
    )


def audio_config() -> Gemma4AudioConfig:
    return Gemma4AudioConfig(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        attention_chunk_size=12,
        attention_context_left=13,
        attention_context_right=0,
        conv_kernel_size=5,
        subsampling_conv_channels=[128, 16],
        output_proj_dims=128,
        use_clipped_linears=True,
    )


def tiny_config(vocab_size: int) -> Gemma4Config:
    return Gemma4Config(
        text_config=text_config(vocab_size),
        vision_config=vision_config(),
        audio_config=audio_config(),
        **MARKERS,
        tie_word_embeddings=True,
    )
