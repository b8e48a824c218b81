"""Gemma 4's control tokens, under their own names; the ids are the order here."""

from __future__ import annotations

from typing import Any

SPECIAL_TOKENS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<|turn>",
    "<turn|>",
    "<|channel>",
    "<channel|>",
    "<|think|>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    '<|"|>',
    "<|image>",
    "<|image|>",
    "<image|>",
    "<|audio>",
    "<|audio|>",
    "<audio|>",
    "<|video|>",
)

ID_OF = {token: index for index, token in enumerate(SPECIAL_TOKENS)}

MARKERS: dict[str, Any] = {
    "image_token_id": ID_OF["<|image|>"],
    "audio_token_id": ID_OF["<|audio|>"],
    "video_token_id": ID_OF["<|video|>"],
    "boi_token_id": ID_OF["<|image>"],
    "eoi_token_id": ID_OF["<image|>"],
    "boa_token_id": ID_OF["<|audio>"],
    "eoa_token_index": ID_OF["<audio|>"],
    "eos_token_id": [ID_OF["<eos>"], ID_OF["<turn|>"]],
}
"""The arguments of a model's config that name control tokens."""
