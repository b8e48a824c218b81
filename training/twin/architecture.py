"""The shapes of the twin: every feature of Gemma 4 12B, in miniature."""

from __future__ import annotations

from transformers import (
    Gemma4UnifiedAudioConfig,
    Gemma4UnifiedConfig,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedVisionConfig,
)

from ..architecture import LAYER_TYPES
from ..special_tokens import ID_OF, MARKERS

HIDDEN = 160
GLOBAL_HEAD_DIM = 64
GLOBAL_KEY_VALUE_HEADS = 1
SAMPLES_PER_TOKEN = 640


def text_config(vocab_size: int) -> Gemma4UnifiedTextConfig:
    return Gemma4UnifiedTextConfig(
        vocab_size=vocab_size,
        hidden_size=HIDDEN,
        intermediate_size=512,
        num_hidden_layers=len(LAYER_TYPES),
        layer_types=list(LAYER_TYPES),
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        global_head_dim=GLOBAL_HEAD_DIM,
        num_global_key_value_heads=GLOBAL_KEY_VALUE_HEADS,
        attention_k_eq_v=True,
        sliding_window=256,
        max_position_embeddings=8192,
        final_logit_softcapping=30.0,
        use_bidirectional_attention="vision",
        pad_token_id=ID_OF["<pad>"],
        bos_token_id=ID_OF["<bos>"],
        eos_token_id=ID_OF["<eos>"],
    )


def twin_config(vocab_size: int) -> Gemma4UnifiedConfig:
    return Gemma4UnifiedConfig(
        text_config=text_config(vocab_size),
        vision_config=Gemma4UnifiedVisionConfig(mm_embed_dim=HIDDEN, output_proj_dims=HIDDEN),
        audio_config=Gemma4UnifiedAudioConfig(audio_embed_dim=SAMPLES_PER_TOKEN),
        **MARKERS,
        tie_word_embeddings=True,
    )
